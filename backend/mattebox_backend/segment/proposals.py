"""What is asked of a search for regions, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mattebox_media.clip import ClipInfo
from numpy.typing import NDArray

from mattebox_backend.errors import InvalidEdit

FEWEST, MOST = 2, 32


@dataclass(frozen=True, slots=True)
class ProposalRequest:
    """start, stop: frames of the clip, half open. backbone: as in an edit. prompt: what the clip shows, may
    be empty. regions: how many. reduction: the attention that is read, in latent cells a token along a side;
    0 lets the size decide.
    """

    clip: Path
    start: int
    stop: int
    backbone: str
    prompt: str
    regions: int
    reduction: int = 0
    seed: int = 0

    def check(self, info: ClipInfo) -> None:
        """Raise `InvalidEdit` for what cannot be asked of a clip like `info`."""
        if not 0 <= self.start < self.stop <= info.frame_count:
            raise InvalidEdit(
                f"The range {self.start} to {self.stop} is not within the clip, which has frames 0 to "
                f"{info.frame_count - 1}; choose at least one frame of it."
            )
        if not FEWEST <= self.regions <= MOST:
            raise InvalidEdit(f"{self.regions} regions cannot be found; ask for {FEWEST} to {MOST}.")


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """masks: (F, H, W) uint8 at the clip's size, 0 or 255. share: of all pixels."""

    masks: NDArray[np.uint8]
    share: float
