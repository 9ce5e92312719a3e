"""What a viewer would say about an edit: is every object what it should be, where it should be, and free of
its neighbours' colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.metrics.fidelity import Frames, Mask
from mattebox_backend.world.recognise import Sighting, colour_shares, recognise, recognise_region
from mattebox_backend.world.vocabulary import BackgroundColour, Colour, Shape

SMALLEST_REGION = 60
"""Regions of fewer pixels in a frame (an object nearly hidden) are not judged in it."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a region should hold after the edit; None for a region that should hold no object."""

    shape: Shape | None
    colour: Colour | None
    part: Colour | None = None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Shares of the judged object-frames, in [0, 1]; ``judged`` is how many there were."""

    colour: float
    shape: float
    both: float
    judged: int


def edit_accuracy(
    frames: Frames,
    masks: Sequence[Mask],
    targets: Sequence[Target],
    background: BackgroundColour | None = None,
) -> Accuracy:
    """How often the region ``masks[n]`` (F, H, W) holds ``targets[n]``, over all frames and regions.

    A target with a part also needs the part's colour, counted under colour; a target without an object needs
    that none is seen.
    """
    colour = shape = both = judged = 0
    for mask, target in zip(masks, targets, strict=True):
        for frame, inside in zip(frames, mask.astype(bool), strict=True):
            if np.count_nonzero(inside) < SMALLEST_REGION:
                continue
            right_colour, right_shape = _judge(recognise_region(frame, inside, background), target)
            judged += 1
            colour += right_colour
            shape += right_shape
            both += right_colour and right_shape
    count = max(1, judged)
    return Accuracy(colour / count, shape / count, both / count, judged)


def placement(
    frames: Frames,
    centres: Sequence[NDArray[np.floating]],
    targets: Sequence[Target],
    background: BackgroundColour | None = None,
) -> float | None:
    """VISOR-style placement: share of object pairs and frames for which both objects are seen and stand to
    each other as they should.

    ``centres[n]``: (F, 2), the true (x, y) of target n in pixels. A pair is judged along the axis on which
    its true centres differ more. None when there are fewer than two objects.
    """
    wanted = [n for n, target in enumerate(targets) if target.colour is not None]
    pairs = [(a, b) for i, a in enumerate(wanted) for b in wanted[i + 1 :]]
    if not pairs:
        return None
    right = 0
    for time, frame in enumerate(frames):
        seen = recognise(frame, background)
        for a, b in pairs:
            true = centres[b][time] - centres[a][time]
            first, second = (
                _find(seen, targets[a], centres[a][time]),
                _find(seen, targets[b], centres[b][time]),
            )
            if first is None or second is None or first is second:
                continue
            shown = np.array([second.x - first.x, second.y - first.y])
            axis = int(np.abs(true).argmax())
            right += int(np.sign(shown[axis]) == np.sign(true[axis]))
    return right / (len(frames) * len(pairs))


def colour_leak(
    frames: Frames,
    masks: Sequence[Mask],
    targets: Sequence[Target],
    background: BackgroundColour | None = None,
) -> float | None:
    """Share of the pixels inside a region that carry the target colour of *another* region, mean over regions
    and frames, in [0, 1].

    Regions whose neighbours have no colour of their own are left out; None when that leaves none.
    """
    shares = []
    for index, (mask, target) in enumerate(zip(masks, targets, strict=True)):
        own = {target.colour, target.part}
        others = {t.colour for n, t in enumerate(targets) if n != index and t.colour is not None} - own
        if not others:
            continue
        for frame, inside in zip(frames, mask.astype(bool), strict=True):
            if np.count_nonzero(inside) >= SMALLEST_REGION:
                found = colour_shares(frame, inside, background)
                shares.append(sum(found[c] for c in others if c is not None))
    return float(np.mean(shares)) if shares else None


def colour_unsteadiness(frames: Frames, masks: Sequence[Mask]) -> float | None:
    """Standard deviation over the frames of a region's mean colour, in CIELAB units, mean over regions: what
    flickers or drifts.

    None when no region is seen in two frames.
    """
    spreads = []
    for mask in masks:
        means = [
            cv2.cvtColor(frame[None][:, inside].astype(np.float32) / np.float32(255), cv2.COLOR_RGB2Lab)[
                0
            ].mean(axis=0)
            for frame, inside in zip(frames, mask.astype(bool), strict=True)
            if np.count_nonzero(inside) >= SMALLEST_REGION
        ]
        if len(means) > 1:
            spreads.append(float(np.linalg.norm(np.std(means, axis=0))))
    return float(np.mean(spreads)) if spreads else None


def _judge(seen: Sighting | None, target: Target) -> tuple[bool, bool]:
    if target.colour is None:
        return seen is None, seen is None
    if seen is None:
        return False, False
    if target.part is None:
        return seen.colour is target.colour, seen.shape is target.shape
    # a part may cover more than its object shows: the pair of colours counts, not which of the two is larger
    return {seen.colour, seen.part_colour} == {target.colour, target.part}, seen.shape is target.shape


def _find(seen: Sequence[Sighting], target: Target, centre: NDArray[np.floating]) -> Sighting | None:
    fitting = [s for s in seen if s.colour is target.colour and s.shape is target.shape]
    return min(fitting, key=lambda s: float(np.hypot(s.x - centre[0], s.y - centre[1])), default=None)
