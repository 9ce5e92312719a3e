"""How fast 1080p H.264 comes through our reader, beside bare PyAV decoding to RGB.

Run as ``python tests/benchmarks/bench_media.py [--frames N] [--rounds N] [--clip FILE] [--json FILE]``; it
makes its own clip. The two take turns, so that whatever else the machine does strikes both; each is judged by
its median, in frames per second of wall time and of processor time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from mattebox_media import open_clip, write_clip
from numpy.typing import NDArray

WIDTH, HEIGHT = 1920, 1080


def make_clip(path: Path, frames: int) -> None:
    """A drifting, grainy gradient with moving bars: enough for the decoder to do."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    base = np.stack([columns * 255 // WIDTH, rows * 255 // HEIGHT, (rows + columns) % 256], axis=2).astype(
        np.int16
    )
    grain = random.integers(-12, 13, base.shape, np.int16)

    def pictures() -> Iterator[NDArray[np.uint8]]:
        for index in range(frames):
            picture = np.roll(base, index * 3, axis=1) + np.roll(grain, index * 7, axis=0)
            picture[:, (index * 11) % WIDTH : (index * 11) % WIDTH + 60] = 230
            yield np.clip(picture, 0, 255).astype(np.uint8)

    write_clip(path, pictures(), fps=Fraction(25))


def bare(path: Path) -> int:
    """PyAV alone, with the same threading, handing out frames one by one as a reader does."""

    def pictures() -> Iterator[object]:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                yield frame.to_ndarray(format="rgb24")

    return sum(1 for _ in pictures())


def ours(path: Path) -> int:
    """Our reader from opening to the last frame: the index, the cache and the checks included."""
    with open_clip(path) as reader:
        return sum(1 for _ in reader.frames(0, reader.info.frame_count))


def rates_of(decode: Callable[[Path], int], path: Path) -> tuple[float, float]:
    """Frames per second of wall time, and of processor time, of one pass."""
    wall, processor = time.perf_counter(), time.process_time()
    count = decode(path)
    return count / (time.perf_counter() - wall), count / (time.process_time() - processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clip", type=Path, help="measure on this file instead")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path: Path = arguments.clip or Path(folder) / "clip.mp4"
        if arguments.clip is None:
            make_clip(path, arguments.frames)
        rates: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
        for decode in (bare, ours):
            decode(path)  # the file is in the page cache from here on
        for turn in range(arguments.rounds):
            pair = (("bare", bare), ("ours", ours))
            for name, decode in pair if turn % 2 == 0 else pair[::-1]:
                rates[name].append(rates_of(decode, path))
    result: dict[str, float] = {}
    for place, clock in enumerate(("wall", "processor")):
        for name, values in rates.items():
            result[f"{name}_{clock}"] = statistics.median(value[place] for value in values)
        result[f"ratio_{clock}"] = result[f"ours_{clock}"] / result[f"bare_{clock}"]
        print(
            f"{path.name}, median of {arguments.rounds}, {clock} time: bare PyAV "
            f"{result[f'bare_{clock}']:.1f} frames/s, our reader {result[f'ours_{clock}']:.1f} frames/s, "
            f"{100 * result[f'ratio_{clock}']:.1f} %"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
