"""A reference: an edited picture of one frame, tied to a region: how it should look then."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mattebox_desktop.model.history import History
from mattebox_desktop.model.observed import Node, Observed
from mattebox_desktop.model.region import Region


class Picture:
    """What a reference shows; another version of it is another picture.

    Args:
        pixels: (H, W, 3) uint8 RGB at the clip's size. They are kept, and not to be written into.
        source: the file that it was read from; "" is the clip's own frame, not edited yet.
    """

    __slots__ = ("__weakref__", "_encoded", "pixels", "source")

    def __init__(self, pixels: NDArray[np.uint8], source: str = "") -> None:
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"a picture is (H, W, 3) uint8, this is {pixels.shape} {pixels.dtype}")
        self.pixels = np.ascontiguousarray(pixels)
        self.pixels.flags.writeable = False
        self.source = source
        self._encoded: bytes | None = None

    @property
    def edited(self) -> bool:
        """Somebody's own picture, and not the clip's frame as it was."""
        return self.source != ""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes

    def encoded(self, encode: Callable[[NDArray[np.uint8]], bytes]) -> bytes:
        """The pixels as `encode` writes them into a file; done once."""
        if self._encoded is None:
            self._encoded = encode(self.pixels)
        return self._encoded

    def same_pixels(self, other: Picture) -> bool:
        return np.array_equal(self.pixels, other.pixels)


class Reference(Node):
    """How a region should look at one frame of the clip."""

    frame = Observed(0, "The reference's frame")
    # The two are given when a reference is made.
    region = Observed[Region](None, "The reference's region")  # type: ignore[arg-type]
    picture = Observed[Picture](None, "The reference's picture", weigh=lambda p: p.nbytes)  # type: ignore[arg-type]

    def __init__(
        self, history: History | None, frame: int, region: Region, picture: Picture, *, id_: str = ""
    ) -> None:
        super().__init__(history)
        self.id = id_ or uuid.uuid4().hex[:12]
        self.extra: dict[str, Any] = {}
        Reference.frame.put(self, frame)
        Reference.region.put(self, region)
        Reference.picture.put(self, picture)

    @property
    def words(self) -> str:
        """Which one it is, to begin a sentence with."""
        return f"The reference of “{self.region.name}” at frame {self.frame}"
