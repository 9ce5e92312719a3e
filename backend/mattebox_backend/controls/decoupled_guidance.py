"""Spatial-temporal decoupled guidance, STDG (VideoDirector, eqs. 2–5): a gradient that holds the attention
of the clip in time, and the look of what is not edited, to what they were when the source was inverted.

Two passes of the backbone: one without a graph for the reference, one with it for the prediction itself and
for all four terms at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from mattebox_backend.attention import AttentionSite, SiteKind
from mattebox_backend.attention.capture import TimeCapture
from mattebox_backend.diffusion.control import SOURCE_BRANCH, Control, Run, Step
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.pivots import Pivots
from mattebox_backend.masks import RegionStack

SCALE = 15_000.0
"""What the authors' code multiplies the terms by beside η and ζ (20,000 and 10,000 in two blocks): they are
means, so that their gradient, spread over all latents, would move nothing.
"""
_SCALED_AT = 64 * 64
"""Latents per frame that those numbers are for (512²): with fewer, each moves a mean more."""


@dataclass(frozen=True, slots=True)
class GuidanceWeights:
    """η_f, η_b of the temporal part and ζ_f, ζ_b of the appearance part (eq. 4): f inside the regions, b
    outside. The defaults are the paper's for an edit of the foreground.
    """

    temporal_inside: float = 0.5
    temporal_outside: float = 0.5
    appearance_inside: float = 0.0
    appearance_outside: float = 0.5

    def swapped(self) -> GuidanceWeights:
        """The same for an edit of the background: what was said of the inside is said of the outside."""
        return GuidanceWeights(
            self.temporal_outside, self.temporal_inside, self.appearance_outside, self.appearance_inside
        )

    @property
    def temporal(self) -> tuple[float, float]:
        """η inside and outside."""
        return self.temporal_inside, self.temporal_outside

    @property
    def appearance(self) -> tuple[float, float]:
        """ζ inside and outside."""
        return self.appearance_inside, self.appearance_outside

    @property
    def none(self) -> bool:
        """Whether there is no guidance at all."""
        return not any((*self.temporal, *self.appearance))


class DecoupledGuidance:
    """Predicts under the source's prompt and says where the prediction strays (`pivotal.Conditional`)."""

    def __init__(
        self,
        denoiser: Denoiser,
        text: torch.Tensor,
        regions: RegionStack,
        weights: GuidanceWeights,
        *,
        checkpointing: bool,
    ) -> None:
        sites = middle_of_decoder(denoiser.backbone.attention_sites())
        self._denoiser = denoiser
        self._text = text.unsqueeze(0)
        self._weights = weights
        self._checkpointing = checkpointing
        self._temporal = tuple(site for site in sites if site.kind is SiteKind.TEMPORAL)
        self._spatial = tuple(site for site in sites if site.kind is SiteKind.SELF)
        self._regions = regions
        self._inside: dict[tuple[int, int], torch.Tensor] = {}

    def identity(self) -> str:
        """All that the guidance depends on beside the clip, its prompt and the backbone."""
        digest = hashlib.sha256(repr((self._weights, SCALE)).encode())
        if not self._weights.none:
            for masks in self._regions.masks:
                digest.update(np.ascontiguousarray(masks).data)
        return digest.hexdigest()

    def __call__(
        self, latents: torch.Tensor, reference: torch.Tensor, step: Step
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The noise in latents z̄_t (F, C, h, w), and G there, held against the inverted z*_t."""
        if self._weights.none:
            text, branch = self._text, [SOURCE_BRANCH]
            noise = self._denoiser.predict(latents.unsqueeze(0), step.timestep, text, branch)[0]
            return noise, torch.zeros_like(latents)
        total = torch.zeros_like(latents)
        counts = torch.zeros(len(latents), 1, 1, 1, device=latents.device)

        def of_window(of_frames: torch.Tensor, window: range) -> torch.Tensor:
            frames = slice(window.start, window.stop)
            noise, gradient = self._of_window(of_frames, reference[frames], step, window)
            total[frames] += noise
            counts[frames] += 1
            return gradient

        gradient = self._denoiser.gradient(latents, of_window)
        return total / counts, gradient

    def _of_window(
        self, latents: torch.Tensor, reference: torch.Tensor, step: Step, window: range
    ) -> tuple[torch.Tensor, torch.Tensor]:
        backbone = self._denoiser.backbone

        def inside(site: AttentionSite) -> torch.Tensor:
            return self._inside_of(site, (latents.shape[-2], latents.shape[-1]), window)

        capture = TimeCapture(backbone.switchboard, self._temporal, self._spatial, SOURCE_BRANCH)
        with torch.no_grad(), capture.listening():
            self._predict(reference, step, window)
            held_maps, held_keys = capture.maps(), capture.keys()
        with torch.enable_grad(), backbone.saving_memory() if self._checkpointing else nullcontext():
            leaf = latents.detach().requires_grad_()
            with capture.listening():
                noise = self._predict(leaf, step, window)
                maps, keys = capture.maps(), capture.keys()
                in_time = [
                    temporal_term(maps[site.name], held_maps[site.name], inside(site), self._weights.temporal)
                    for site in self._temporal
                ]
                in_look = [
                    appearance_term(
                        keys[site.name], held_keys[site.name], inside(site), self._weights.appearance
                    )
                    for site in self._spatial
                ]
                scale = SCALE * latents[0, 0].numel() / _SCALED_AT
                loss = scale * (_mean(in_time, leaf) + _mean(in_look, leaf))
                # Listeners must stay until the gradient is there: checkpointing asks them again.
                # Where no part has a token, or no site is over time, the loss is a constant.
                gradient = torch.zeros_like(latents)
                if loss.requires_grad:
                    (gradient,) = torch.autograd.grad(loss, [leaf])
        return noise.detach(), gradient.detach()

    def _predict(self, latents: torch.Tensor, step: Step, window: range) -> torch.Tensor:
        return self._denoiser.backbone.predict(
            latents.unsqueeze(0),
            step.timestep,
            self._text,
            [SOURCE_BRANCH],
            frames=window,
            reach=self._denoiser.reach,
        )[0]

    def _inside_of(self, site: AttentionSite, size: tuple[int, int], window: range) -> torch.Tensor:
        """Which tokens of a site lie in a region: (f, h·w) bool."""
        grid = site.grid(*size)
        if grid not in self._inside:
            owners = torch.from_numpy(self._regions.owners(*grid)).flatten(1)
            self._inside[grid] = (owners > 0).to(self._denoiser.backbone.device.torch)
        return self._inside[grid][window.start : window.stop]


class HeldGuidance(Control):
    """Applies the guidance that the pivotal inversion found, to the direction term (algorithm I, line 30)."""

    def __init__(self, pivots: Pivots) -> None:
        self._pivots = pivots
        self._run: Run | None = None
        self._strength: torch.Tensor | None = None

    def prepare(self, run: Run) -> None:
        self._run = run

    def direct(self, direction: torch.Tensor, step: Step) -> torch.Tensor:
        if self._run is None:
            raise RuntimeError("HeldGuidance.direct needs prepare() first.")
        held = self._pivots.guidance_from(step.level, self._run.device)
        self._strength = held.square().sum(1).sqrt()
        return direction - self._run.grid.spread(step.level) * held

    def shows(self) -> Mapping[str, torch.Tensor]:
        return {"decoupled guidance": self._strength} if self._strength is not None else {}

    def close(self) -> None:
        self._run = self._strength = None


def middle_of_decoder(sites: Sequence[AttentionSite]) -> tuple[AttentionSite, ...]:
    """The sites of the middle up-blocks of a UNet: of four those in the middle two, of three the middle one,
    of fewer all.
    """
    blocks = sorted({int(site.name.split(".")[1]) for site in sites if site.name.startswith("up_blocks.")})
    middle = blocks[1:-1] or blocks
    return tuple(
        site for site in sites if site.name.startswith(tuple(f"up_blocks.{block}." for block in middle))
    )


def temporal_term(
    maps: torch.Tensor, held: torch.Tensor, inside: torch.Tensor, weights: tuple[float, float]
) -> torch.Tensor:
    """Eq. 2 for maps (n, heads, F, F) of n = h·w places: the squared difference from the held ones where
    those are largest in their row, its mean inside weighed by `weights[0]` and outside by `weights[1]`.

    inside: (F, n) bool. A part without a token contributes nothing.
    """
    largest = held.argmax(-1, keepdim=True)
    difference = (held.gather(-1, largest) - maps.gather(-1, largest)).squeeze(-1).float().square().mean(1)
    total = difference.new_zeros(())
    for weight, where in zip(weights, (inside.T, ~inside.T), strict=True):
        if weight and bool(where.any()):
            total = total + weight * difference[where].mean()
    return total


def appearance_term(
    keys: torch.Tensor, held: torch.Tensor, inside: torch.Tensor, weights: tuple[float, float]
) -> torch.Tensor:
    """Eq. 3 for keys (heads, F·n, d): the squared difference of their means over the tokens inside, frame by
    frame, weighed by `weights[0]`, and of those over the tokens outside by `weights[1]`.

    inside: (F, n) bool. A frame without such tokens contributes nothing.
    """
    frames, tokens = inside.shape
    moved = (keys - held).float().view(len(keys), frames, tokens, -1)
    total = moved.new_zeros(())
    for weight, where in zip(weights, (inside, ~inside), strict=True):
        counts = where.sum(1)
        if weight and bool(counts.any()):
            shares = where / counts.clamp(min=1).unsqueeze(1)
            means = torch.einsum("kfnd,fn->kfd", moved, shares.to(moved))
            total = total + weight * means[:, counts > 0].square().mean()
    return total


def _mean(terms: list[torch.Tensor], like: torch.Tensor) -> torch.Tensor:
    return torch.stack(terms).mean() if terms else like.new_zeros(())
