"""What an adapter learns from: the motion of the source, and how edited pictures look (mask-aware LoRA,
eq. 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from mattebox_backend.backbones.video_protocol import Prompt, VideoBackbone
from mattebox_backend.lora.told import Told, known_pixels

GREY = 128
"""What stands where nothing is known; 0 between −1 and 1."""
OTHER_ORDERS: Final = tuple(permutations(range(3)))[1:]
"""The orders of red, green and blue beside their own."""


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """A stretch of the clip at working size. frames: (F, H, W, 3) uint8, F of k·stride + 1. edited: (F, H, W)
    bool, what the regions cover.
    """

    frames: NDArray[np.uint8]
    edited: NDArray[np.bool_]

    def part(self, span: range) -> Footage:
        """Some of its frames."""
        frames = slice(span.start, span.stop)
        return Footage(self.frames[frames], self.edited[frames])


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One thing to learn: target latents (T, C, h, w), the condition (T, K, h, w) to make them from, and the
    prompt. counted: (T,) bool, the latent frames whose error is learnt from; None for all.
    """

    target: torch.Tensor
    condition: torch.Tensor
    prompt: Prompt
    counted: torch.Tensor | None = None


def motion_samples(
    backbone: VideoBackbone,
    footage: Footage,
    told: Told,
    prompt: str,
    windows: tuple[range, ...],
) -> list[Sample]:
    """Stage 1: the source itself, of which the regions are hidden but in the first frame (section 3.3.1).

    windows: stretches that are learnt apart (appendix C.1), each with its own first frame.
    """
    samples = []
    for window in windows:
        part = footage.part(window)
        known = known_pixels(told, part.edited)
        samples.append(
            Sample(
                backbone.encode(part.frames),
                backbone.condition(part.frames, known),
                backbone.prompt(prompt, hidden(part.frames[0], known[0])),
            )
        )
    return samples


def recoloured(footage: Footage) -> Iterator[Footage]:
    """The same motion in the other colours that exchanging red, green and blue makes: five clips.

    Not in the paper. What has many colours in training cannot be learnt by its colours: the first frame must
    be asked for them, and only the motion is left to learn.
    """
    for order in OTHER_ORDERS:
        yield Footage(np.ascontiguousarray(footage.frames[..., order]), footage.edited)


def appearance_samples(
    backbone: VideoBackbone,
    footage: Footage,
    pictures: Mapping[int, NDArray[np.uint8]],
    told: Told,
    prompt: str,
) -> list[Sample]:
    """Stage 2: every edited picture by itself, a clip of one frame, made from the source's frame with the
    regions hidden (section 3.3.2).

    pictures: (H, W, 3) by frame; outside the regions they are the source's. Told `FIRST`, the model is given
    the picture that it is to make, as the default mask of image-to-video has it (appendix B.3).
    """
    samples = []
    for frame, picture in sorted(pictures.items()):
        if told is Told.FIRST:
            given, known = picture, np.ones_like(footage.edited[frame])
        else:
            given = footage.frames[frame]
            known = known_pixels(Told.BACKGROUND, footage.edited[frame : frame + 1])[0]
        samples.append(
            Sample(
                backbone.encode(picture[None]),
                backbone.condition(given[None], known[None]),
                backbone.prompt(prompt, hidden(given, known)),
            )
        )
    return samples


def placed_samples(
    backbone: VideoBackbone,
    footage: Footage,
    pictures: Mapping[int, NDArray[np.uint8]],
    told: Told,
    prompt: str,
    windows: tuple[range, ...],
) -> list[Sample]:
    """Stage 2 otherwise than in the paper: every edited picture but the first frame's at its place in the
    clip, made from what generation will be told. Alone its latent frame counts, for as many frames as share
    one; around it the source moves as it does.

    By itself (`appearance_samples`) a picture cannot tell when the regions are to look so, but by what it
    shows outside of them. pictures, windows: as there, and as `motion_samples` has them. A window that begins
    at a frame without a picture is not told its regions there: the source's would be wrong.
    """
    stride = backbone.frame_stride
    samples = []
    for frame, picture in sorted(pictures.items()):
        if frame == 0:
            continue  # is what the model is told
        window = next(window for window in windows if window.start < frame < window.stop)
        part, cell = footage.part(window), (frame - window.start - 1) // stride + 1
        given, known = part.frames.copy(), known_pixels(told, part.edited)
        if window.start in pictures:
            given[0] = pictures[window.start]
        elif told is not Told.EVERYTHING:
            known[0] &= ~part.edited[0]
        made = given.copy()
        made[1 + (cell - 1) * stride : 1 + cell * stride] = picture
        target = backbone.encode(made)
        samples.append(
            Sample(
                target,
                backbone.condition(given, known),
                backbone.prompt(prompt, hidden(given[0], known[0])),
                torch.arange(len(target)) == cell,
            )
        )
    return samples


def hidden(picture: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A picture (H, W, 3) with grey where it is not known (H, W): what the model sees of it must not tell
    what it is to learn.
    """
    return np.where(known[..., None], picture, np.uint8(GREY))


def training_windows(frames: int, size: int) -> tuple[range, ...]:
    """The stretches of `size` frames, half of them shared by neighbours, that cover a clip; 0: the whole.

    frames and size: k·stride + 1.
    """
    if size == 0 or size >= frames:
        return (range(frames),)
    return tuple(range(start, start + size) for start in _starts(frames, size, max(1, (size - 1) // 2)))


def _starts(frames: int, size: int, stride: int) -> Iterator[int]:
    last = frames - size
    yield from range(0, last, stride)
    yield last
