"""Reading and writing clips: video files and picture sequences, exact to the frame."""

from __future__ import annotations

from mattebox_media.clip import ClipInfo, Frame
from mattebox_media.color import BT709, ColorTags
from mattebox_media.errors import MediaError
from mattebox_media.formats import OutputFormat, check_output
from mattebox_media.reader import ClipReader, open_clip
from mattebox_media.sequence import files_at, pattern_of, plain_name
from mattebox_media.writer import write_clip, write_like

__all__ = [
    "BT709", "ClipInfo", "ClipReader", "ColorTags", "Frame", "MediaError", "OutputFormat",
    "check_output", "files_at", "open_clip", "pattern_of", "plain_name", "write_clip",
    "write_like",
]  # fmt: skip
