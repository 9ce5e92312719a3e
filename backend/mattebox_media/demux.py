"""Opening a video file: only real video containers, only local files, and every refusal in words."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import av
import av.error
from av.container.input import InputContainer
from av.video.stream import VideoStream

from mattebox_media.errors import ClipNotFound, MediaError, NotAVideo, TruncatedClip
from mattebox_media.truncation import cut_off

# FFmpeg would also "open" a text file as terminal art, follow a playlist to other files or to the network,
# or play one picture as a video; none of that is a clip.
_CONTAINERS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "mpegvideo", "mxf", "flv", "asf",
    "ogg", "nut", "ivf", "gif", "apng", "h264", "hevc", "av1", "obu", "m4v", "dv", "yuv4mpegpipe",
)  # fmt: skip
_SOUND_CONTAINERS: Final = ("wav", "w64", "flac", "mp3", "aac", "aiff", "caf", "ac3", "eac3")
_OPTIONS: Final = {
    "format_whitelist": ",".join((*_CONTAINERS, *_SOUND_CONTAINERS)),
    "protocol_whitelist": "file",
    # AVI and elementary streams carry no presentation times; FFmpeg can work most of them out.
    "fflags": "+genpts",
}


def open_container(path: Path) -> InputContainer:
    """The opened container. Raises ClipNotFound, TruncatedClip, NotAVideo or MediaError."""
    if not path.exists():
        raise ClipNotFound(f"There is no file {path}; check the name and the folder.")
    if path.is_dir():
        raise NotAVideo(
            f"{path} is a folder; open a video file in it, or a picture sequence as {path / '%04d.png'}."
        )
    try:
        if path.stat().st_size == 0:
            raise NotAVideo(f"{path} is an empty file (0 bytes); copy it again from its source.")
        return av.open(f"file:{path}", mode="r", container_options=_OPTIONS, metadata_errors="replace")
    except (av.error.FFmpegError, OSError) as error:
        raise _refusal(path, error) from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The stream that is the picture: the first video stream that is no cover art. Raises NotAVideo."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            if stream.codec_context is None:
                raise NotAVideo(
                    f"{path} holds video in a codec that this build cannot decode; "
                    f"convert it to H.264 or ProRes."
                )
            return stream
    holds = "only sound" if container.streams.audio else "no picture stream"
    raise NotAVideo(f"{path} is not a video: it holds {holds}; choose a video file.")


def _refusal(path: Path, error: Exception) -> MediaError:
    if isinstance(error, PermissionError):
        return MediaError(f"{path} may not be read by this user (permission denied); change its permissions.")
    reason = cut_off(path)
    if reason is not None:
        return TruncatedClip(
            f"{path} is cut off: {reason}, so no frame can be read; copy it again from its source.", None
        )
    return NotAVideo(
        f"{path} is not a video that can be read; choose a video file, or convert it to MP4 first."
    )
