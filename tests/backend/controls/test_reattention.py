"""Re-attention against its formulae written out, and on a tiny model."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mattebox_backend.controls.reattention import (
    ReAttention,
    ReAttentionSchedule,
    region_loss,
    smooth,
    word_masks,
    word_responses,
    words_of_interest,
)
from mattebox_backend.controls.text_layout import TextLayout, lay_out_text
from mattebox_backend.diffusion.control import Run
from mattebox_backend.diffusion.denoiser import Denoiser, Windows
from mattebox_backend.diffusion.sampler import steps_of
from mattebox_backend.diffusion.trajectory import Trajectory
from mattebox_backend.edit import Region
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.masks import stack_regions
from numpy.typing import NDArray

SCHEDULE = ReAttentionSchedule(20.0, 0.2, -0.9, (), 0, 2, False)


def reference_loss(responses: NDArray[Any], inside: NDArray[Any], share: float) -> float:
    """Eqs. 3–6, one word, frame and token at a time."""
    total = 0.0
    for of_word, mask in zip(responses, inside, strict=True):
        for wanted, sign in ((True, -1.0), (False, 1.0)):
            of_frames = []
            for frame, where in zip(of_word, mask, strict=True):
                chosen = sorted((r for r, m in zip(frame, where, strict=True) if m == wanted), reverse=True)
                if chosen:
                    k = max(1, int(share * len(chosen)))
                    of_frames.append(sum(chosen[:k]) / k)
            if of_frames:
                mean = sum(of_frames) / len(of_frames)
                total += (1.0 if sign < 0 else 0.0) + sign * mean
    return total


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 12),
    st.sampled_from([0.01, 0.2, 0.5, 1.0]),
    st.data(),
)
def test_the_loss_is_that_of_the_formulae(
    words: int, frames: int, tokens: int, share: float, data: Any
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    responses = rng.random((words, frames, tokens))
    inside = rng.random((words, frames, tokens)) < data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    loss, _ = region_loss(torch.from_numpy(responses), torch.from_numpy(inside), share)
    assert float(loss) == pytest.approx(reference_loss(responses, inside, share), abs=1e-12)


def test_a_region_that_shows_in_no_frame_asks_for_nothing_inside_and_gives_no_nan() -> None:
    responses = torch.rand(2, 2, 6, dtype=torch.float64, requires_grad=True)
    inside = torch.zeros(2, 2, 6, dtype=torch.bool)
    inside[1, 0, 3] = True  # one token in one frame
    loss, satisfied = region_loss(responses, inside, 0.2)
    assert satisfied[0].item() == 1
    assert satisfied[1].item() == pytest.approx(responses[1, 0, 3].item())
    (gradient,) = torch.autograd.grad(loss, responses)
    assert torch.isfinite(gradient).all()
    assert gradient[1, 0, 3].item() == -1


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 5), (3, 4, 2)])
def test_smoothing_is_a_gaussian_of_half_a_token_with_repeated_borders(shape: tuple[int, int, int]) -> None:
    volume = torch.rand(2, 1, *shape, dtype=torch.float64)
    weights = np.array([math.exp(-2), 1.0, math.exp(-2)])
    weights /= weights.sum()
    padded = np.pad(volume.numpy(), [(0, 0), (0, 0), (1, 1), (1, 1), (1, 1)], mode="edge")
    expected = sum(
        weights[i]
        * weights[j]
        * weights[k]
        * padded[:, :, i : i + shape[0], j : j + shape[1], k : k + shape[2]]
        for i in range(3)
        for j in range(3)
        for k in range(3)
    )
    np.testing.assert_allclose(smooth(volume).numpy(), expected, atol=1e-12)


def test_responses_share_out_the_words_of_the_prompt_alone() -> None:
    text = TextLayout("a b", torch.zeros(6, 3), ((1,), (2, 3)), (0, 4, 5))
    maps = torch.rand(2, 6, 6, dtype=torch.float64) / 20
    found = word_responses(maps, text, (2, 3))
    logits = np.exp(100 * maps[..., 1:4].numpy())
    shares = logits / logits.sum(-1, keepdims=True)
    for place, column in enumerate((0, 1, 2)):
        volume = torch.from_numpy(shares[..., column].reshape(1, 1, 2, 2, 3))
        torch.testing.assert_close(found[place], smooth(volume).reshape(2, 6))
    assert words_of_interest(text) == ((0, 1), (1, 2), (1, 3))


@pytest.fixture
def text(backbone: Any) -> TextLayout:
    return lay_out_text(
        backbone,
        "a blue circle and a green square",
        [region("a blue circle", 0), region("a green square", 1)],
    )


def region(prompt: str, side: int, frames: int = 3) -> Region:
    masks = np.zeros((frames, 64, 48), np.uint8)
    masks[:, 8:56, side * 24 : side * 24 + 20] = 255
    return Region(prompt, prompt, masks)


def run_of(backbone: Any, windows: Windows | None = None, frames: int = 3) -> Run:
    regions = stack_regions([region("a blue circle", 0, frames), region("a green square", 1, frames)])
    latents = np.random.default_rng(3).standard_normal((11, frames, 4, 8, 6)).astype(np.float16)
    denoiser = Denoiser(backbone, windows=windows)
    return Run(denoiser, backbone.schedule.grid(10), regions, Trajectory(latents), torch.Generator())


def moved(
    backbone: Any, text: TextLayout, schedule: ReAttentionSchedule, run: Run, index: int
) -> torch.Tensor:
    control = ReAttention(text, schedule)
    control.prepare(run)
    try:
        step = steps_of(run.grid, *run.latent_size)[index]
        latents = run.trajectory.level(step.level, backbone.device)
        with torch.no_grad():
            return control.before_step(latents, step) - latents
    finally:
        control.close()


def loss_at(backbone: Any, text: TextLayout, run: Run, latents: torch.Tensor, index: int) -> float:
    """The loss at latents, read off the maps that a plain processor of diffusers' kind would make."""
    from mattebox_backend.attention.capture import MapCapture

    sites = [s for s in backbone.attention_sites() if s.kind == "cross" and s.reduction == SCHEDULE.reduction]
    capture = MapCapture(backbone.switchboard, sites, "edit")
    step = steps_of(run.grid, *run.latent_size)[index]
    with capture.listening(), torch.no_grad():
        backbone.predict(latents.unsqueeze(0), step.timestep, text.states.unsqueeze(0), ["edit"])
    grid = sites[0].grid(*run.latent_size)
    maps = torch.stack(list(capture.maps().values())).mean(0).view(run.frames, grid[0] * grid[1], -1)
    inside = word_masks(run, text, grid)
    return float(region_loss(word_responses(maps, text, grid), inside, SCHEDULE.share)[0])


def test_caught_maps_are_the_softmax_of_queries_and_keys(backbone: Any, text: TextLayout) -> None:
    from mattebox_backend.attention.capture import MapCapture

    site = next(s for s in backbone.attention_sites() if s.kind == "cross")
    layer = backbone.unet.get_submodule(site.name)
    inputs: list[Any] = []
    hook = layer.register_forward_pre_hook(
        lambda _, args, kwargs: inputs.append((args, kwargs)), with_kwargs=True
    )
    capture = MapCapture(backbone.switchboard, [site], "other")
    try:
        with capture.listening(), torch.no_grad():
            latents = torch.randn(2, 2, 4, 8, 6)
            backbone.predict(latents, 300, torch.stack([text.states, 2 * text.states]), ["edit", "other"])
    finally:
        hook.remove()
    (hidden,), kwargs = inputs[0]
    query = layer.to_q(hidden[2:]).reshape(96, layer.heads, -1).double()
    key = layer.to_k(kwargs["encoder_hidden_states"][1:]).reshape(text.length, layer.heads, -1).double()
    logits = torch.einsum("nhd,khd->hnk", query, key) / math.sqrt(query.shape[-1])
    torch.testing.assert_close(
        capture.maps()[site.name].double(), logits.softmax(-1).mean(0), atol=1e-6, rtol=1e-5
    )


def test_an_update_lowers_the_loss(backbone: Any, text: TextLayout) -> None:
    run = run_of(backbone)
    before = run.trajectory.level(10, backbone.device)
    after = before + moved(backbone, text, replace(SCHEDULE, step_size=5.0), run, 0)
    assert not torch.equal(before, after)
    assert loss_at(backbone, text, run, after, 0) < loss_at(backbone, text, run, before, 0)


def test_saving_memory_moves_the_latents_just_as_far(backbone: Any, text: TextLayout) -> None:
    run = run_of(backbone)
    plain = moved(backbone, text, SCHEDULE, run, 0)
    saved = moved(backbone, text, replace(SCHEDULE, checkpointing=True), run, 0)
    torch.testing.assert_close(saved, plain, atol=1e-5, rtol=1e-3)


def test_updates_end_with_their_window_of_noise_levels_and_shrink_as_the_square_root(
    backbone: Any, text: TextLayout
) -> None:
    run = run_of(backbone)
    steps = steps_of(run.grid, *run.latent_size)
    schedule = replace(SCHEDULE, window=steps[4].felt_log_snr)
    assert moved(backbone, text, schedule, run, 4).abs().max() > 0
    assert moved(backbone, text, schedule, run, 5).abs().max() == 0
    # At the same latents and level only the rate differs.
    twice = moved(backbone, text, replace(schedule, step_size=40.0), run, 4)
    torch.testing.assert_close(twice, 2 * moved(backbone, text, schedule, run, 4), atol=1e-6, rtol=1e-4)
    control = ReAttention(text, schedule)
    control.prepare(run)
    latents = run.trajectory.level(10, backbone.device)
    first, last = (replace(steps[0], index=index) for index in (0, 9))
    moves = [control.before_step(latents, step) - latents for step in (first, last)]
    control.close()
    torch.testing.assert_close(moves[1], moves[0] * math.sqrt(0.5), atol=1e-6, rtol=1e-4)


def test_a_threshold_is_demanded_at_the_first_step_past_its_level(backbone: Any, text: TextLayout) -> None:
    run = run_of(backbone)
    steps = steps_of(run.grid, *run.latent_size)
    felt = [step.felt_log_snr for step in steps]
    between = [(a + b) / 2 for a, b in pairwise(felt)]
    # Nothing reaches a response of 1 and everything one of 0; updates outside the window are refinements.
    schedule = replace(SCHEDULE, window=-20.0, refinements=1)
    impossible = replace(schedule, thresholds=((between[2], 1.1),))
    assert [moved(backbone, text, impossible, run, i).abs().max() > 0 for i in range(10)] == [
        index == 3 for index in range(10)
    ]
    satisfied = replace(schedule, thresholds=((-20.0, 0.0),))
    assert moved(backbone, text, satisfied, run, 0).abs().max() == 0
    from_the_start = replace(schedule, thresholds=((-20.0, 1.1),))
    assert moved(backbone, text, from_the_start, run, 0).abs().max() > 0


def test_more_refinements_come_closer(backbone: Any, text: TextLayout) -> None:
    run = run_of(backbone)
    schedule = replace(SCHEDULE, step_size=5.0, window=-20.0, thresholds=((-20.0, 1.1),))
    start = run.trajectory.level(10, backbone.device)
    losses = [
        loss_at(
            backbone, text, run, start + moved(backbone, text, replace(schedule, refinements=n), run, 0), 0
        )
        for n in (0, 1, 4)
    ]
    assert losses[0] > losses[1] > losses[2]


def test_windows_are_differentiated_one_by_one_and_averaged(backbone: Any, text: TextLayout) -> None:
    run = run_of(backbone, Windows(2, 1))
    found = moved(backbone, text, SCHEDULE, run, 0)
    parts = []
    for start in (0, 1):
        part = run_of(backbone, frames=2)
        latents = run.trajectory.latents[:, start : start + 2]
        parts.append(moved(backbone, text, SCHEDULE, replace(part, trajectory=Trajectory(latents)), 0))
    torch.testing.assert_close(found[0], parts[0][0], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found[1], (parts[0][1] + parts[1][0]) / 2, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found[2], parts[1][1], atol=1e-6, rtol=1e-4)


def test_a_part_of_a_region_may_hold_the_words_of_its_whole(backbone: Any) -> None:
    whole, part = region("a blue circle", 0), region("a green square", 0)
    part.masks[:, :24] = 0
    run = replace(run_of(backbone), regions=stack_regions([whole, part]))
    text = lay_out_text(backbone, "a blue circle and a green square", [whole, part])
    of_whole, *_, of_part = word_masks(run, text, (8, 6))
    assert (of_part <= of_whole).all()
    assert of_part.sum() < of_whole.sum()


def test_a_backbone_without_attention_of_that_size_is_refused_in_words(
    backbone: Any, text: TextLayout
) -> None:
    with pytest.raises(InvalidEdit, match="map_reduction to one of 1, 2"):
        ReAttention(text, replace(SCHEDULE, reduction=8)).prepare(run_of(backbone))
