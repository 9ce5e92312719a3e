"""The one reader of clips: exact frames by index, from any thread, in bounded memory."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from mattebox_media.cache import FrameCache
from mattebox_media.clip import ClipInfo, Frame
from mattebox_media.errors import ClosedClip, FrameOutOfRange
from mattebox_media.sequence import SequenceSource, is_pattern
from mattebox_media.video import VideoSource

DEFAULT_CACHE_BYTES = 256 << 20
SEQUENCE_FPS = Fraction(24)
_HASH_BLOCK = 1 << 20
_IDLE_DECODERS = 2
_LOOK_BACK = 24  # frames kept when stepping backwards, so that each group of pictures is decoded few times


class FrameDecoder(Protocol):
    """Reads frames by index; one thread at a time. ``position`` is the frame that is cheap to read next."""

    @property
    def position(self) -> int | None: ...
    def read(self, frame: int) -> Frame: ...
    def close(self) -> None: ...


class FrameSource(Protocol):
    """A clip on disk: a video file or a picture sequence."""

    @property
    def info(self) -> ClipInfo: ...
    def time(self, frame: int) -> Fraction: ...
    def keyframe_before(self, frame: int) -> int: ...
    def files(self) -> tuple[Path, ...]: ...
    def open_decoder(self) -> FrameDecoder: ...
    def close(self) -> None: ...


def open_clip(
    path: str | Path, *, cache_bytes: int = DEFAULT_CACHE_BYTES, sequence_fps: Fraction = SEQUENCE_FPS
) -> ClipReader:
    """Open a video file, or a picture sequence by its number pattern (``frames/%04d.png``).

    ``cache_bytes`` bounds the decoded frames that are kept; ``sequence_fps`` is the frame rate that a
    sequence is taken to have. Raises ClipNotFound, NotAVideo, EmptyClip, TruncatedClip, MissingFrames,
    DamagedFrame.
    """
    path = Path(path)
    source: FrameSource = SequenceSource(path, sequence_fps) if is_pattern(path) else VideoSource(path)
    return ClipReader(source, cache_bytes=cache_bytes)


class ClipReader:
    """An open clip. Every method may be called from any thread, also at the same time.

    Frames are (H, W, 3) RGB or (H, W, 4) RGBA, uint8, or uint16 at full scale for clips of more than 8 bit.
    They are read-only, since the cache hands the same array out again: copy one before changing it.

    Each running ``frames`` iteration and each ``frame`` call borrows a decoder of its own; idle ones are kept
    for the next call, so nothing waits for another thread and reading onwards never seeks.
    """

    def __init__(self, source: FrameSource, *, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self._source = source
        self._cache = FrameCache(cache_bytes)
        self._lock = threading.Lock()
        self._idle: list[FrameDecoder] = []
        self._closed = False
        self._last_asked = -1
        self._hash: str | None = None

    @property
    def info(self) -> ClipInfo:
        """What the clip is."""
        return self._source.info

    @property
    def cached_bytes(self) -> int:
        """Bytes of decoded frames held now."""
        return self._cache.used_bytes

    def frame(self, index: int) -> Frame:
        """Frame ``index``, 0-based. Raises FrameOutOfRange, DamagedFrame, ClosedClip.

        A request just before the last one also caches the frames in front of it, so stepping backwards is
        quick.
        """
        self._check_range(index, index + 1)
        cached = self._cache.get(index)
        with self._lock:
            backwards = index < self._last_asked <= index + _LOOK_BACK
            self._last_asked = index
        if cached is not None:
            return cached
        first = index
        if backwards:
            room = self._cache.limit_bytes // (2 * self.info.frame_bytes)
            first = max(self._source.keyframe_before(index), index - min(_LOOK_BACK, room), 0)
        decoder = self._borrow(first)
        try:
            for number in range(first, index + 1):
                frame = decoder.read(number)
                self._cache.put(number, frame)
        finally:
            self._give_back(decoder)
        return frame

    def frames(self, start: int, stop: int) -> Iterator[Frame]:
        """Frames ``start`` to ``stop - 1`` one by one, each decoded when it is asked for.

        A range that is larger than the cache is not kept: it would only push everything else out.

        Raises FrameOutOfRange at once (also for an empty range), DamagedFrame and ClosedClip while iterating.
        """
        self._check_range(start, stop)
        return self._iterate(start, stop)

    def times(self, start: int, stop: int) -> list[Fraction]:
        """Seconds at which the frames are shown, exact, counted from frame 0. Raises FrameOutOfRange."""
        self._check_range(start, stop)
        return [self._source.time(index) for index in range(start, stop)]

    def keyframe_before(self, index: int) -> int:
        """The last frame up to ``index`` that decodes without others. Raises FrameOutOfRange."""
        self._check_range(index, index + 1)
        return self._source.keyframe_before(index)

    def content_hash(self, check: Callable[[], object] = lambda: None) -> str:
        """SHA-256 (hex) of the file's bytes, or of a sequence's files in order; independent of names and
        dates.

        Reads the whole clip from disk the first time. check: called before every megabyte; what it raises
        ends the reading.
        """
        if self._hash is None:
            digests = []
            for path in self._source.files():
                digest = hashlib.sha256()
                with path.open("rb") as file:
                    while block := file.read(_HASH_BLOCK):
                        check()
                        digest.update(block)
                digests.append(digest)
            if self.info.kind == "video":
                self._hash = digests[0].hexdigest()
            else:
                self._hash = hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()
        return self._hash

    def close(self) -> None:
        """Close the files and drop the cache; decoders in use close when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            self._source.close()
        for decoder in idle:
            decoder.close()
        self._cache.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _iterate(self, start: int, stop: int) -> Iterator[Frame]:
        decoder: FrameDecoder | None = None
        fits = (stop - start) * self.info.frame_bytes <= self._cache.limit_bytes
        try:
            for index in range(start, stop):
                self._check_range(index, stop)
                frame = self._cache.get(index)
                if frame is None:
                    decoder = decoder or self._borrow(index)
                    frame = decoder.read(index)
                    if fits:
                        self._cache.put(index, frame)
                yield frame
                del frame  # its memory serves the next one when the caller is done with it too
        finally:
            if decoder is not None:
                self._give_back(decoder)

    def _check_range(self, start: int, stop: int) -> None:
        count = self.info.frame_count
        if self._closed:
            raise ClosedClip(f"{self.info.path} was closed; open it again to read frames.")
        if start >= stop:
            raise FrameOutOfRange(
                f"The range {start} to {stop} of {self.info.path} holds no frame; "
                f"give a stop after the start."
            )
        if start < 0 or stop > count:
            asked = f"Frame {start}" if stop == start + 1 else f"The range {start} to {stop}"
            raise FrameOutOfRange(
                f"{asked} is outside {self.info.path}, which has {count} frames; use 0 to {count - 1}."
            )

    def _borrow(self, index: int) -> FrameDecoder:
        """The idle decoder that stands nearest in front of ``index``, else any, else a new one."""
        with self._lock:
            if self._closed:
                raise ClosedClip(f"{self.info.path} was closed; open it again to read frames.")
            if self._idle:
                nearest = min(self._idle, key=lambda decoder: _distance(decoder.position, index))
                self._idle.remove(nearest)
                return nearest
            return self._source.open_decoder()

    def _give_back(self, decoder: FrameDecoder) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < _IDLE_DECODERS:
                self._idle.append(decoder)
                return
        decoder.close()


def _distance(position: int | None, index: int) -> float:
    return index - position if position is not None and position <= index else float("inf")
