"""What came out of a render: figures that can be checked, and how long each stage took."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from mattebox_backend.controls.composite import Frame


@dataclass(frozen=True, slots=True)
class Report:
    """One render's figures.

    background_exact_share: the share of pixels outside every region and its feather that equal the source
    in all channels. background_psnr: of those same pixels in dB; None when all are equal. seconds: per
    stage. params: every parameter that the render used, defaults filled in. curves: by name ("motion loss"),
    the steps, from 1, and values of what the render learnt on its way. adapters: the ids of those that it
    learnt or found, the last of which made the frames.
    """

    method: str
    backbone: str
    seed: int
    frames: int
    width: int
    height: int
    background_exact_share: float
    background_psnr: float | None
    seconds: dict[str, float]
    peak_memory_mb: float
    inversion_cached: bool
    device: str
    dtype: str
    params: dict[str, bool | int | float | str]
    warnings: list[str]
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    adapters: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """The report as JSON values; seconds, memory and curves rounded to what means something.

        JSON has no word for a value that is not finite: such a point of a curve is left out.
        """
        content = asdict(self)
        content["seconds"] = {stage: round(spent, 3) for stage, spent in self.seconds.items()}
        content["peak_memory_mb"] = round(self.peak_memory_mb, 1)
        content["curves"] = {
            name: [[step, float(f"{value:.6g}")] for step, value in points if math.isfinite(value)]
            for name, points in self.curves.items()
        }
        return content


@dataclass(slots=True)
class BackgroundTally:
    """Counts, frame by frame, how much of the background is still the source."""

    pixels: int = 0
    exact: int = 0
    values: int = 0
    squared_error: float = 0.0

    def add(self, source: Frame, result: Frame, matte: NDArray[np.float32]) -> None:
        """One frame: source and result of one shape and type, matte (H, W), 0 = background."""
        background = matte == 0
        differs = (source != result).any(axis=-1) & background
        self.pixels += int(background.sum())
        self.exact += int(background.sum() - differs.sum())
        self.values += int(background.sum()) * source.shape[-1]
        if differs.any():
            top = float(np.iinfo(source.dtype).max)
            error = (source[differs].astype(np.float64) - result[differs]) / top
            self.squared_error += float((error**2).sum())

    @property
    def exact_share(self) -> float:
        """1 where there is no background at all: none of it changed."""
        return self.exact / self.pixels if self.pixels else 1.0

    @property
    def psnr(self) -> float | None:
        """dB, None for infinity."""
        if self.squared_error == 0:
            return None
        return -10 * math.log10(self.squared_error / self.values)
