"""Re-attentional diffusion, RAD (ReAtCo, eqs. 2–7): before a step, the latents are moved so that the words of
each region draw attention inside it and none outside.

The constraint is read off the cross-attention maps `A` of the edit's own branch, and followed down its
gradient with respect to the latents. A graph exists only while an update is computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from mattebox_backend.attention import AttentionSite, SiteKind
from mattebox_backend.attention.capture import MapCapture
from mattebox_backend.backbones.protocol import Backbone
from mattebox_backend.controls.text_layout import TextLayout
from mattebox_backend.diffusion.control import EDIT_BRANCH, Control, Run, Step
from mattebox_backend.errors import InvalidEdit

_SHARPNESS = 100.0
"""Maps are multiplied by this before the softmax over words (Attend-and-Excite; public code of ReAtCo)."""
_SMOOTHING = 0.5
"""Deviation of the Gaussian over (frame, row, column), in tokens; its kernel is 3 wide."""


@dataclass(frozen=True, slots=True)
class ReAttentionSchedule:
    """When and how far the latents are moved.

    step_size: α of the first step; it falls as √ of a line from 1 to ½ over the run. share: of the tokens
    inside (and of those outside) that count, the ones with the highest response (K of eqs. 3, 5). window: one
    update a step while log-SNR, as felt at 512², is at most this. thresholds: pairs (log-SNR, threshold); at
    the first step past each, updates go on until every word's response inside reaches the threshold, at most
    `refinements` more. reduction: of the sites whose maps are read. checkpointing: keep little of the graph
    and compute the rest again.
    """

    step_size: float
    share: float
    window: float
    thresholds: tuple[tuple[float, float], ...]
    refinements: int
    reduction: int
    checkpointing: bool


class ReAttention(Control):
    """Steers by gradient; every region's words are words of interest."""

    def __init__(self, text: TextLayout, schedule: ReAttentionSchedule) -> None:
        self._text = text
        self._schedule = schedule
        self._run: Run | None = None
        self._sites: tuple[AttentionSite, ...] = ()
        self._inside = torch.empty(0)
        self._moved: torch.Tensor | None = None

    def prepare(self, run: Run) -> None:
        self._run = run
        self._sites = readable_sites(run.backbone, self._schedule.reduction)
        self._inside = word_masks(run, self._text, self._sites[0].grid(*run.latent_size))

    def close(self) -> None:
        self._run = self._moved = None

    def shows(self) -> Mapping[str, torch.Tensor]:
        return {"re-attention": self._moved} if self._moved is not None else {}

    def before_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        moved = self._move(latents, step)
        self._moved = (moved - latents).square().sum(1).sqrt()
        return moved

    def _move(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        schedule = self._schedule
        threshold = self._threshold(step)
        rate = schedule.step_size * math.sqrt(1 - 0.5 * step.index / max(1, step.of - 1))
        if threshold is not None:
            for _ in range(schedule.refinements):
                inside, gradient = self._descent(latents, step)
                # max_j (1 − fg_j) ≤ 1 − threshold
                if float(inside.min()) >= threshold:
                    break
                latents = latents - rate * gradient
        if step.felt_log_snr <= schedule.window:
            latents = latents - rate * self._descent(latents, step)[1]
        return latents

    def _threshold(self, step: Step) -> float | None:
        """The threshold whose noise level lies past the step before this one, and not past this one."""
        grid, before = self._prepared.grid, -math.inf
        if step.level < grid.steps:
            before = step.felt_log_snr - grid.log_snr(step.level) + grid.log_snr(step.level + 1)
        reached = [value for level, value in self._schedule.thresholds if before < level <= step.felt_log_snr]
        return max(reached, default=None)

    def _descent(self, latents: torch.Tensor, step: Step) -> tuple[torch.Tensor, torch.Tensor]:
        """The response of every word inside its region, (words,), and ∇L with respect to the latents."""
        responses: list[torch.Tensor] = []

        def of_window(of_frames: torch.Tensor, window: range) -> torch.Tensor:
            gradient, inside = self._window_descent(of_frames, step, window)
            responses.append(inside)
            return gradient

        gradient = self._prepared.frame_denoiser.gradient(latents, of_window)
        return torch.stack(responses).mean(0), gradient

    def _window_descent(
        self, latents: torch.Tensor, step: Step, window: range
    ) -> tuple[torch.Tensor, torch.Tensor]:
        run = self._prepared
        capture = MapCapture(run.backbone.switchboard, self._sites, EDIT_BRANCH)
        saving = run.backbone.saving_memory() if self._schedule.checkpointing else nullcontext()
        with torch.enable_grad(), saving:
            leaf = latents.detach().requires_grad_()
            with capture.listening():
                run.backbone.predict(
                    leaf.unsqueeze(0),
                    step.timestep,
                    self._text.states.unsqueeze(0),
                    [EDIT_BRANCH],
                    frames=window,
                    reach=run.frame_denoiser.reach,
                )
                maps = torch.stack([m.float() for m in capture.maps().values()]).mean(0)
                maps = maps.view(len(window), self._inside.shape[2], -1)
                of_words = word_responses(maps, self._text, self._sites[0].grid(*run.latent_size))
                loss, inside = region_loss(
                    of_words, self._inside[:, window.start : window.stop], self._schedule.share
                )
                # Listeners must stay until the gradient is there: checkpointing asks them again.
                (gradient,) = torch.autograd.grad(loss, leaf)
        return gradient.detach(), inside.detach()

    @property
    def _prepared(self) -> Run:
        if self._run is None:
            raise RuntimeError("ReAttention steers only between prepare() and close().")
        return self._run


def readable_sites(backbone: Backbone, reduction: int) -> tuple[AttentionSite, ...]:
    """The cross-attention sites of a size. Raises `InvalidEdit` where the backbone has none."""
    cross = [site for site in backbone.attention_sites() if site.kind is SiteKind.CROSS]
    sites = tuple(site for site in cross if site.reduction == reduction)
    if not sites:
        known = ", ".join(str(r) for r in sorted({site.reduction for site in cross}))
        raise InvalidEdit(
            f"{backbone.name} has no cross attention at 1/{reduction} of its latents for re-attention to "
            f"read; set map_reduction to one of {known}."
        )
    return sites


def words_of_interest(text: TextLayout) -> tuple[tuple[int, int], ...]:
    """Every (region, position in the prompt) that is constrained."""
    return tuple((region, word) for region, words in enumerate(text.words) for word in words)


def word_masks(run: Run, text: TextLayout, grid: tuple[int, int]) -> torch.Tensor:
    """Where each word of interest belongs: (words, F, h·w) bool. A part belongs to its whole as well."""
    owners = torch.from_numpy(run.regions.owners(*grid)).flatten(1).to(run.backbone.device.torch)
    masks = []
    for region, _ in words_of_interest(text):
        parts = [k for k, parents in enumerate(run.regions.parents) if region in parents]
        masks.append(torch.isin(owners, torch.tensor([region + 1, *(k + 1 for k in parts)]).to(owners)))
    return torch.stack(masks)


def word_responses(maps: torch.Tensor, text: TextLayout, grid: tuple[int, int]) -> torch.Tensor:
    """Maps (F, h·w, L) as responses of the words of interest: (words, F, h·w), smooth and in [0, 1].

    A softmax over the words of the prompt (start, end and padding left out) of 100·A, then a Gaussian over
    frames, rows and columns whose borders are repeated.
    """
    words = [position for position in range(text.length) if position not in text.specials]
    shares = (_SHARPNESS * maps[..., words]).softmax(-1)
    columns = [words.index(word) for _, word in words_of_interest(text)]
    frames = maps.shape[0]
    volume = shares[..., columns].movedim(-1, 0).reshape(-1, 1, frames, *grid)
    return smooth(volume).reshape(len(columns), frames, -1)


def smooth(volume: torch.Tensor) -> torch.Tensor:
    """A Gaussian of deviation ½ over the last three axes of (n, 1, F, h, w), 3 wide, sums kept."""
    near = math.exp(-1 / (2 * _SMOOTHING**2))
    kernel = torch.tensor([near, 1.0, near], dtype=volume.dtype, device=volume.device) / (1 + 2 * near)
    padded = torch.nn.functional.pad(volume, (1,) * 6, mode="replicate")
    weight = kernel.view(-1, 1, 1) * kernel.view(-1, 1) * kernel
    return torch.nn.functional.conv3d(padded, weight[None, None])


def region_loss(
    responses: torch.Tensor, inside: torch.Tensor, share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Eqs. 3–6 for responses (words, F, n) and where they belong (words, F, n) bool.

    Returns the loss `Σ_j (1 − mean_f fg_j) + Σ_j mean_f bg_j` and the mean of fg per word, (words,). fg, bg:
    mean of the highest `share` of the responses inside and outside, at least one token's. A frame in which a
    region has no token asks for nothing inside, one that it fills for nothing outside; a word whose region
    shows in no frame counts as satisfied.
    """
    total = responses.new_zeros(())
    satisfied = []
    for of_word, mask in zip(responses, inside, strict=True):
        found = _top_mean(of_word, mask, share)
        if found:
            foreground = torch.stack(found).mean()
            total = total + 1 - foreground
        else:
            foreground = responses.new_ones(())
        astray = _top_mean(of_word, ~mask, share)
        if astray:
            total = total + torch.stack(astray).mean()
        satisfied.append(foreground)
    return total, torch.stack(satisfied) if satisfied else responses.new_ones(0)


def _top_mean(responses: torch.Tensor, where: torch.Tensor, share: float) -> list[torch.Tensor]:
    """Per frame that has any token there, the mean of the highest `share` of the responses."""
    means = []
    for frame, mask in zip(responses, where, strict=True):
        chosen = frame[mask]
        if chosen.numel():
            means.append(chosen.topk(max(1, int(share * chosen.numel()))).values.mean())
    return means
