"""How a run asks its backbone: which frames see each other, all at once or window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from mattebox_backend.attention import Reach
from mattebox_backend.backbones.protocol import Backbone


@dataclass(frozen=True, slots=True)
class Windows:
    """Overlapping stretches of frames that are denoised together; where they overlap, predictions are
    averaged. Memory then grows with `size`, not with the clip (ReAtCo, long clips).

    size: frames of a window, at least 1. stride: frames from one window to the next, 1 … size.
    """

    size: int
    stride: int

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.size:
            raise ValueError(f"Windows of {self.size} frames cannot be {self.stride} frames apart.")

    def over(self, frames: int) -> tuple[range, ...]:
        """The windows that cover `frames` frames; all have `size` frames but in a clip that is shorter."""
        last = max(0, frames - self.size)
        starts = [*range(0, last, self.stride), last]
        return tuple(range(start, min(start + self.size, frames)) for start in starts)


@dataclass(frozen=True, slots=True, eq=False)
class Denoiser:
    """A backbone and the way in which frames are put to it; the same in inversion and in sampling.

    reach: which frames a frame sees through self attention. windows: None takes all frames at once.
    """

    backbone: Backbone
    reach: Reach = Reach.ALL
    windows: Windows | None = None

    def windows_over(self, frames: int) -> tuple[range, ...]:
        """The stretches that `frames` frames are denoised in."""
        return self.windows.over(frames) if self.windows is not None else (range(frames),)

    def predict(
        self, latents: torch.Tensor, timestep: int, text: torch.Tensor, branches: Sequence[str]
    ) -> torch.Tensor:
        """The noise in latents (B, F, C, h, w) of all frames: like latents, float32.

        text: (B, L, C), or (B, F, L, C) where every frame has its own.
        """
        if len(self.windows_over(latents.shape[1])) == 1:
            ((_, noise),) = self.by_window(latents, timestep, text, branches)
            return noise
        total = torch.zeros_like(latents, dtype=torch.float32)
        counts = torch.zeros(latents.shape[1], device=latents.device)
        for window, noise in self.by_window(latents, timestep, text, branches):
            frames = slice(window.start, window.stop)
            total[:, frames] += noise
            counts[frames] += 1
        return total / counts.view(1, -1, 1, 1, 1)

    def by_window(
        self, latents: torch.Tensor, timestep: int, text: torch.Tensor, branches: Sequence[str]
    ) -> Iterator[tuple[range, torch.Tensor]]:
        """Window after window, its frames and the noise (B, f, C, h, w) that was predicted in them."""
        for window in self.windows_over(latents.shape[1]):
            frames = slice(window.start, window.stop)
            yield (
                window,
                self.backbone.predict(
                    latents[:, frames],
                    timestep,
                    text[:, frames] if text.ndim == 4 else text,
                    branches,
                    frames=window,
                    reach=self.reach,
                ),
            )

    def gradient(
        self, latents: torch.Tensor, of_window: Callable[[torch.Tensor, range], torch.Tensor]
    ) -> torch.Tensor:
        """A gradient with respect to latents (F, C, h, w) that is taken window by window, so that no graph
        spans more frames than a prediction does; where windows overlap it is averaged, as predictions are.

        of_window: gives the gradient (f, C, h, w) for the latents of a window's frames.
        """
        total = torch.zeros_like(latents)
        counts = torch.zeros(len(latents), 1, 1, 1, device=latents.device)
        for window in self.windows_over(len(latents)):
            frames = slice(window.start, window.stop)
            total[frames] += of_window(latents[frames], window)
            counts[frames] += 1
        return total / counts
