"""A region's mask over time: painted key frames, each held until the next.

A key that holds no mask (`None`) ends the hold before it. So "hold this mask from here to there" is one key
at the start and one at the end, and a mask of any frame is the key at or before it.

Undo of a mask is the bounding slice and its old values (napari's labels layer): it costs what the stroke
touched.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mattebox_desktop.model.errors import MaskSizeError, RangeError
from mattebox_desktop.model.history import History
from mattebox_desktop.model.rect import NOWHERE, Rect
from mattebox_desktop.model.signal import Signal

Mask = NDArray[np.uint8]
"""(H, W) uint8 at the clip's size: 0 keeps the source, 255 edits it."""


@dataclass(frozen=True, slots=True)
class Span:
    """Frames [start, stop) that show one key's mask; the key stands at `start`."""

    start: int
    stop: int
    filled: bool


class MaskTrack:
    """The sparse masks of one region.

    Signal `changed(frame, rect)`: pixels of the mask that is held from `frame` on changed inside `rect`, or,
    with `rect` None, keys came or went.

    Args:
        history: where changes are recorded.
        shape: (height, width) of the clip.
        frame_count: frames of the clip.
        name: of the region, for messages.
    """

    def __init__(
        self, history: History | None, shape: tuple[int, int], frame_count: int, name: str = ""
    ) -> None:
        self.changed: Signal[[int, Rect | None]] = Signal()
        self.shape = shape
        self.frame_count = frame_count
        self.name = name
        self._history = history
        self._keys: dict[int, Mask | None] = {}
        self._frames: list[int] = []
        self._encoded: dict[int, tuple[Mask, bytes]] = {}
        self.changed.connect(self._forget_encoded)

    # -- reading ---------------------------------------------------------------------------------------------

    @property
    def keys(self) -> Mapping[int, Mask | None]:
        """Key frames in order, with the mask that each holds; None is nothing."""
        return {frame: self._keys[frame] for frame in self._frames}

    def key_at(self, frame: int) -> int | None:
        """The key frame whose mask `frame` shows."""
        position = bisect_right(self._frames, frame)
        return self._frames[position - 1] if position else None

    def mask_at(self, frame: int) -> Mask | None:
        """The mask that `frame` shows; None where it is empty. Do not write into it: use a `Stroke`."""
        key = self.key_at(frame)
        return None if key is None else self._keys[key]

    def encoded(self, frame: int, encode: Callable[[Mask], bytes]) -> bytes:
        """The key at `frame` as `encode` writes it into a file; done again only after its pixels changed.

        Raises:
            KeyError: there is no key, or it holds nothing.
        """
        mask = self._keys[frame]
        if mask is None:
            raise KeyError(frame)
        known = self._encoded.get(frame)
        if known is None or known[0] is not mask:
            known = self._encoded[frame] = mask, encode(mask)
        return known[1]

    def spans(self) -> list[Span]:
        """How the keys divide the clip, from the first key to the clip's end."""
        ends = [*self._frames[1:], self.frame_count] if self._frames else []
        return [
            Span(start, stop, self._keys[start] is not None)
            for start, stop in zip(self._frames, ends, strict=True)
        ]

    # -- changing --------------------------------------------------------------------------------------------

    def set_key(self, frame: int, mask: Mask | None) -> None:
        """Makes `frame` a key that holds `mask` (which the track owns from then on), or nothing.

        Raises:
            RangeError: the frame is not one of the clip's.
            MaskSizeError: the mask has another size than the clip.
        """
        if not 0 <= frame < self.frame_count:
            raise RangeError(
                f"Frame {frame} is outside the clip; it has the frames 0 to {self.frame_count - 1}."
            )
        if mask is not None and mask.shape != self.shape:
            raise MaskSizeError(
                f"of “{self.name}” at frame {frame}", (mask.shape[0], mask.shape[1]), self.shape
            )
        self._change({**self._keys, frame: mask}, frame)

    def remove_key(self, frame: int) -> None:
        """Takes a key away; the one before it is held on over its frames."""
        if frame in self._keys:
            self._change({k: m for k, m in self._keys.items() if k != frame}, frame)

    def hold(self, source: int, start: int, stop: int) -> None:
        """Shows the mask of frame `source` over [start, stop); frames outside keep what they showed.

        Raises:
            RangeError: the span is empty or leaves the clip.
        """
        if not 0 <= start < stop <= self.frame_count:
            raise RangeError(
                f"The frames {start} to {stop} are not a span of the clip; choose a start before the stop, "
                f"both between 0 and {self.frame_count}."
            )
        held = self.mask_at(source)
        after = self.mask_at(stop) if stop < self.frame_count else None
        keys = {k: m for k, m in self._keys.items() if not start <= k < stop}
        keys[start] = None if held is None else held.copy()
        if stop < self.frame_count and stop not in keys:
            keys[stop] = None if after is None else after.copy()
        self._change(keys, start)

    def stroke(self, frame: int) -> Stroke:
        """Begins to paint on `frame`; opens a key there that starts from the mask it showed."""
        mask = self._keys.get(frame)
        if mask is None:
            shown = self.mask_at(frame)
            mask = np.zeros(self.shape, np.uint8) if shown is None else shown.copy()
            self.set_key(frame, mask)
        return Stroke(self, frame, mask)

    def put(self, keys: Mapping[int, Mask | None], frame: int = 0) -> None:
        """Replaces every key and tells who listens, without a record: for undo and for loading."""
        self._keys = dict(keys)
        self._frames = sorted(self._keys)
        self.changed.emit(frame, None)

    def record_patch(self, frame: int, mask: Mask, rect: Rect, old: Mask) -> None:
        """Notes that a stroke changed `rect` of the key at `frame` from `old`."""
        if self._history is not None:
            self._history.record(_MaskPatch(self, frame, mask, rect, old))

    def _forget_encoded(self, frame: int, rect: Rect | None) -> None:
        if rect is not None:
            self._encoded.pop(frame, None)
        else:
            self._encoded = {at: known for at, known in self._encoded.items() if at in self._keys}

    def _change(self, keys: dict[int, Mask | None], frame: int) -> None:
        before = self._keys
        if _alike(before, keys):
            return
        self.put(keys, frame)
        if self._history is not None:
            self._history.record(_KeysChange(self, before, dict(keys), frame))


def _alike(one: Mapping[int, Mask | None], other: Mapping[int, Mask | None]) -> bool:
    """Both hold the same at the same frames: going from one to the other is no step."""
    return one.keys() == other.keys() and all(
        a is b or (a is not None and b is not None and np.array_equal(a, b))
        for a, b in ((one[frame], other[frame]) for frame in one)
    )


class Stroke:
    """Pixels being changed under the pen: live at once, recorded as one patch when it ends.

    Attributes:
        mask: the key's mask, (H, W) uint8; write into it, then call `touched`.
        before: what it was when the stroke began.
    """

    def __init__(self, track: MaskTrack, frame: int, mask: Mask) -> None:
        self.track = track
        self.frame = frame
        self.mask = mask
        self.before = mask.copy()
        self.rect = NOWHERE

    def touched(self, rect: Rect) -> None:
        """Tells who listens that `rect` of the mask has new values."""
        if rect.empty:
            return
        self.rect = self.rect.united(rect)
        self.track.changed.emit(self.frame, rect)

    def finish(self) -> None:
        """Records what the stroke changed."""
        if self.rect.empty:
            return
        old = self.before[self.rect.rows, self.rect.columns]
        if np.array_equal(old, self.mask[self.rect.rows, self.rect.columns]):
            return
        self.track.record_patch(self.frame, self.mask, self.rect, old.copy())

    def cancel(self) -> None:
        """Puts the pixels back as they were."""
        if self.rect.empty:
            return
        part = self.rect.rows, self.rect.columns
        self.mask[part] = self.before[part]
        self.track.changed.emit(self.frame, self.rect)


@dataclass(slots=True)
class _MaskPatch:
    """The bounding slice of a stroke and the values on the other side of undo."""

    track: MaskTrack
    frame: int
    mask: Mask
    rect: Rect
    values: Mask

    @property
    def what(self) -> str:
        return f"The mask of “{self.track.name}”"

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def revert(self) -> None:
        part = self.rect.rows, self.rect.columns
        now = self.mask[part].copy()
        self.mask[part] = self.values
        self.values = now
        self.track.changed.emit(self.frame, self.rect)

    def reapply(self) -> None:
        self.revert()


@dataclass(slots=True)
class _KeysChange:
    """Keys that came or went. The arrays are kept by reference: patches made later are undone before this
    is.
    """

    track: MaskTrack
    before: dict[int, Mask | None]
    after: dict[int, Mask | None]
    frame: int
    weight: int = field(init=False)

    def __post_init__(self) -> None:
        held = {id(mask) for mask in self.before.values()}
        self.weight = sum(
            mask.nbytes for mask in self.after.values() if mask is not None and id(mask) not in held
        )

    @property
    def what(self) -> str:
        return f"The keys of “{self.track.name}”"

    @property
    def nbytes(self) -> int:
        return self.weight

    def revert(self) -> None:
        self.track.put(self.before, self.frame)

    def reapply(self) -> None:
        self.track.put(self.after, self.frame)
