"""What is asked of a captioner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from mattebox_media import Frame, open_clip
from numpy.typing import NDArray

from mattebox_backend.errors import InvalidEdit


class Detail(StrEnum):
    """How much is said of a picture."""

    SENTENCE = "sentence"
    DETAILED = "detailed"
    PARAGRAPH = "paragraph"


class CaptionStage(StrEnum):
    """What a caption is waiting for."""

    LOADING = "loading"
    DESCRIBING = "describing"


Tell = Callable[[CaptionStage], None]


@dataclass(frozen=True, slots=True, eq=False)
class CaptionRequest:
    """A frame of a clip, or a picture (H, W, 3) uint8 in its place, such as the frame as it was edited.

    captioner: by name, folder or hub id; empty for the first that there is.
    """

    clip: Path | None
    frame: int
    picture: NDArray[np.uint8] | None
    detail: Detail
    captioner: str = ""

    def read_frame(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8. Raises `InvalidEdit` for one that the clip does not have."""
        if self.clip is None:
            raise InvalidEdit("There is nothing to describe: give a clip, or a picture.")
        with open_clip(self.clip) as reader:
            last = reader.info.frame_count - 1
            if not 0 <= self.frame <= last:
                raise InvalidEdit(
                    f"The frame {self.frame} is not within the clip, which has frames 0 to {last}."
                )
            return eight_bit(reader.frame(self.frame))


def eight_bit(frame: Frame) -> NDArray[np.uint8]:
    """A frame (H, W, 3 or 4) uint8 or uint16 as (H, W, 3) uint8."""
    colors = frame[..., :3]
    if colors.dtype == np.uint16:
        return np.rint(colors.astype(np.float32) / 257).astype(np.uint8)
    return np.ascontiguousarray(colors, np.uint8)
