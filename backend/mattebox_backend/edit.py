"""What to make, as a value: an `Edit` with its regions and references."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mattebox_backend.errors import InvalidEdit


class MaskMode(StrEnum):
    """How a region's mask is widened before it is used."""

    TIGHT = "tight"
    ELLIPSE = "ellipse"
    BOX = "box"
    DILATED = "dilated"


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A named area over time.

    masks: (F, H, W) uint8 at the clip's size, one per frame of the range; 0 keep … 255 edit. dilation,
    feather: pixels at the clip's size. order: higher lies on top. words: words of interest in the prompt;
    empty: found from the prompts. color: "#rrggbb", for display only.
    """

    name: str
    prompt: str
    masks: NDArray[np.uint8]
    mode: MaskMode = MaskMode.TIGHT
    dilation: int = 0
    feather: int = 0
    order: int = 0
    words: tuple[str, ...] = ()
    color: str = ""

    def __post_init__(self) -> None:
        _require_pixels(
            self.masks, ndim=3, what=f"The masks of region “{self.name}”", layout="(frames, height, width)"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """An edited picture of one frame: how a region should look then.

    frame: index in the clip. image: (H, W, 3) uint8 RGB at the clip's size. region: its name.
    """

    frame: int
    image: NDArray[np.uint8]
    region: str

    def __post_init__(self) -> None:
        what = f"The pixels of the reference of frame {self.frame}"
        _require_pixels(self.image, ndim=3, what=what, layout="(height, width, 3)")


@dataclass(frozen=True, slots=True)
class ControlChoice:
    """A control of the method `custom`, by name, with its parameters."""

    name: str
    params: Mapping[str, bool | int | float | str]


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """Clip, range, prompts, regions, references, method, parameters and seed.

    clip: where the source lies. clip_hash: its content hash. start, stop: frames of the clip, half open.
    backbone: "pocket-sd", a model folder or a hub id. params: the method's parameters that differ from its
    defaults. inspect: keep what attention and controls did; it changes no bit of the result.
    controls: what the method custom is mixed from, in order; empty for any other. condition_pictures:
    (F, H, W, 3) uint8 RGB at the clip's size, what a ControlNet is to read of each frame of the range (depth,
    poses, …); None: no such pictures.
    """

    clip: Path
    clip_hash: str
    start: int
    stop: int
    prompt: str
    source_prompt: str
    method: str
    backbone: str
    seed: int
    regions: tuple[Region, ...]
    references: tuple[Reference, ...]
    params: Mapping[str, bool | int | float | str]
    inspect: bool = False
    controls: tuple[ControlChoice, ...] = ()
    condition_pictures: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.condition_pictures is not None:
            layout = "(frames, height, width, 3)"
            _require_pixels(self.condition_pictures, ndim=4, what="The condition pictures", layout=layout)

    @property
    def frame_count(self) -> int:
        return self.stop - self.start

    def content_hash(self) -> str:
        """SHA-256 (hex) of all that changes the result: neither the clip's path nor colours, nor whether it
        is inspected.
        """
        digest = hashlib.sha256(b"mattebox-edit-1")
        for part in self._parts():
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        return digest.hexdigest()

    def _parts(self) -> Iterator[bytes]:
        yield self.clip_hash.encode()
        yield f"{self.start}:{self.stop}:{self.seed}".encode()
        for text in (self.prompt, self.source_prompt, self.method, self.backbone):
            yield text.encode()
        yield f"{len(self.regions)} regions".encode()
        for region in self.regions:
            yield region.name.encode()
            yield region.prompt.encode()
            yield f"{region.mode}:{region.dilation}:{region.feather}:{region.order}".encode()
            yield f"{len(region.words)} words".encode()
            for word in region.words:
                yield word.encode()
            yield from _pixels(region.masks)
        yield f"{len(self.references)} references".encode()
        for reference in self.references:
            yield f"{reference.frame}:{reference.region}".encode()
            yield from _pixels(reference.image)
        if self.condition_pictures is not None:
            yield b"condition pictures"
            yield from _pixels(self.condition_pictures)
        yield from _parameters(self.params)
        for control in self.controls:
            yield f"control {control.name}".encode()
            yield from _parameters(control.params)


def _parameters(params: Mapping[str, bool | int | float | str]) -> Iterator[bytes]:
    for name in sorted(params):
        value = params[name]
        yield f"{name}:{type(value).__name__}:{value!r}".encode()


def _pixels(array: NDArray[np.uint8]) -> Iterator[bytes]:
    yield str(array.shape).encode()
    yield array.tobytes()


def _require_pixels(array: NDArray[np.uint8], *, ndim: int, what: str, layout: str) -> None:
    if array.ndim != ndim or array.dtype != np.uint8:
        raise InvalidEdit(f"{what} are {array.dtype} of shape {array.shape}; give uint8 of shape {layout}.")
