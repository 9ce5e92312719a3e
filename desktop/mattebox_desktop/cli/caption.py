"""`mattebox caption`: what a frame, or a picture, shows, in a captioner's words."""

from __future__ import annotations

from pathlib import Path

import typer
from mattebox_media import open_clip
from mattebox_media.sequence import PICTURE_ENDINGS, is_pattern
from mattebox_proto.client import Client
from mattebox_proto.codecs.frames import encode_image
from mattebox_proto.mattebox.v1 import captions_pb2

from mattebox_desktop.cli.connecting import connect
from mattebox_desktop.cli.failures import UsageFault
from mattebox_desktop.cli.progress import bar
from mattebox_desktop.service.edit_pictures import read_image

_STATES: dict[int, str] = {
    captions_pb2.DESCRIBE_STATE_WAITING: "waiting for the backend",
    captions_pb2.DESCRIBE_STATE_LOADING: "loading the captioner",
    captions_pb2.DESCRIBE_STATE_DESCRIBING: "describing",
}


def run_caption(clip: Path, frame: int, detail: str, captioner: str, backend: str, device: str) -> None:
    """Prints the caption. Raises BackendError; Ctrl-C ends it on both sides."""
    request = captions_pb2.DescribeRequest(
        detail=captions_pb2.CaptionDetail.Value(f"CAPTION_DETAIL_{detail.upper()}"),
        captioner=_folder_or_name(captioner),
    )
    picture = clip.suffix.lower() in PICTURE_ENDINGS and not is_pattern(clip)
    if picture:
        request.picture.CopyFrom(encode_image(read_image(clip)))
    _check_frame(clip, frame, 1 if picture else _frame_count(clip))
    with connect(backend, device) as client:
        if not picture:
            with bar("Clip") as shown:
                opened = client.open_clip(clip, sent=lambda done, total: shown.show(done, total, "sending"))
            request.clip, request.frame = opened.id, frame
        typer.echo(_describe(client, request))


def _describe(client: Client, request: captions_pb2.DescribeRequest) -> str:
    caption = ""
    with bar("Caption") as shown:
        for event in client.describe(request):
            if event.WhichOneof("event") == "caption":
                caption = event.caption
            else:
                shown.show_waiting(_STATES.get(event.state, ""))
    return caption


def _frame_count(clip: Path) -> int:
    with open_clip(clip) as reader:
        return reader.info.frame_count


def _check_frame(clip: Path, frame: int, count: int) -> None:
    if not 0 <= frame < count:
        there = f"frames 0 to {count - 1}" if count > 1 else "frame 0 alone"
        raise UsageFault(f"--frame {frame} is not within {clip}, which has {there}.")


def _folder_or_name(captioner: str) -> str:
    folder = Path(captioner).expanduser()
    return str(folder.resolve()) if captioner and folder.is_dir() else captioner
