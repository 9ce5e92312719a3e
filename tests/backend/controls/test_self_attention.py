"""SA-I and SA-II against eq. 6 written out, and on a tiny model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.attention import Projections, attend
from mattebox_backend.controls.self_attention import (
    SelfAttentionControl,
    SelfAttentionPlan,
    look_at_reference,
    share_maps,
)
from mattebox_backend.diffusion.control import Run
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.sampler import steps_of
from mattebox_backend.diffusion.trajectory import Trajectory
from mattebox_backend.edit import Region
from mattebox_backend.masks import stack_regions


def projections(branches: int, tokens: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(branches)
    return [torch.randn(branches, 2, tokens, 4, generator=generator, dtype=torch.float64) for _ in range(3)]


def softmax_attention(query: Any, key: Any, value: Any, hidden: Any = None) -> torch.Tensor:
    logits = torch.einsum("hnd,hkd->hnk", query, key) / math.sqrt(query.shape[-1])
    if hidden is not None:
        logits = logits.masked_fill(hidden, -math.inf)
    return logits.softmax(-1) @ value


def test_shared_maps_carry_the_edits_own_values() -> None:
    query, key, value = projections(3, 5)
    found = attend(query, key, value, [share_maps({0: 2})])
    torch.testing.assert_close(found[0], softmax_attention(query[2], key[2], value[0]))
    torch.testing.assert_close(found[1], softmax_attention(query[1], key[1], value[1]))
    torch.testing.assert_close(found[2], softmax_attention(query[2], key[2], value[2]))


@pytest.mark.parametrize("inside", [[0, 1, 1, 0, 0], [0] * 5, [1] * 5])
def test_the_reference_is_seen_outside_the_regions_alone(inside: list[int]) -> None:
    query, key, value = projections(3, 5)
    mask = torch.tensor(inside, dtype=torch.bool)
    found = attend(query, key, value, look_at_reference({0: 2}, mask, 3))
    hidden = torch.cat([torch.zeros(5, dtype=torch.bool), mask])
    expected = softmax_attention(
        query[0], torch.cat([key[0], key[2]], 1), torch.cat([value[0], value[2]], 1), hidden
    )
    # The bias travels in float32.
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)
    for place in (1, 2):
        own = softmax_attention(query[place], key[place], value[place])
        torch.testing.assert_close(found[place], own, atol=1e-5, rtol=1e-5)


def test_no_more_keys_are_read_than_are_seen() -> None:
    query, key, value = projections(3, 5)
    mask = torch.tensor([1, 0, 1, 1, 0], dtype=torch.bool)
    steered_all = look_at_reference({0: 2, 1: 2, 2: 2}, mask, 3)
    (only,) = steered_all
    assert isinstance(only, Projections)
    _, longer, _ = only.edit(query, key, value)
    assert longer.shape[2] == 5 + 2
    torch.testing.assert_close(longer[0, :, 5:], key[2][:, [1, 4]])
    everywhere = look_at_reference({0: 2}, torch.ones(5, dtype=torch.bool), 3)
    assert len(everywhere) == 1, "nothing is added, so nothing has to be hidden"


@pytest.mark.parametrize("number_format", [torch.bfloat16, torch.float16])
def test_hidden_keys_stay_hidden_in_half_precision(number_format: torch.dtype) -> None:
    query, key, value = (tensor.to(number_format) for tensor in projections(2, 6))
    mask = torch.tensor([0, 1, 0, 0, 1, 1], dtype=torch.bool)
    loud = torch.where(mask[:, None], 1000, value[1]).to(number_format)
    found = attend(query, key, torch.stack([value[0], loud]), look_at_reference({0: 1}, mask, 2))
    assert found[0].abs().max() < 10, "a key of the reference inside a region was seen"
    found = attend(query, key, torch.stack([loud, value[1]]), look_at_reference({1: 0}, ~mask, 2))
    own = softmax_attention(query[0].double(), key[0].double(), loud.double())
    torch.testing.assert_close(found[0].double(), own, rtol=0.05, atol=5.0)


def run_of(backbone: Any) -> Run:
    masks = np.zeros((2, 64, 64), np.uint8)
    masks[:, :, :30] = 255
    trajectory = Trajectory(np.zeros((11, 2, 4, 8, 8), np.float16))
    regions = stack_regions([Region("r", "a red circle", masks)])
    return Run(Denoiser(backbone), backbone.schedule.grid(10), regions, trajectory, torch.Generator())


def predict(backbone: Any, plan: SelfAttentionPlan | None, index: int, branches: list[str]) -> torch.Tensor:
    run = run_of(backbone)
    control = SelfAttentionControl(plan or SelfAttentionPlan(0.0), {"edit": "reconstruction"})
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(len(branches), 2, 4, 8, 8, generator=generator)
    text = torch.stack([backbone.embed(f"a {c} circle").states for c in ("red", "blue", "green")])
    try:
        if plan is not None:
            control.prepare(run)
            control.before_step(latents[0], steps_of(run.grid, 8, 8)[index])
        with torch.no_grad():
            found: torch.Tensor = backbone.predict(latents, 300, text[: len(branches)], branches)
        return found
    finally:
        control.close()


def test_only_the_edit_changes_and_the_turn_lies_at_its_noise_level(backbone: Any) -> None:
    steps = steps_of(backbone.schedule.grid(10), 8, 8)
    plan = SelfAttentionPlan(steps[4].felt_log_snr)
    branches = ["edit", "unconditional", "reconstruction"]
    plain = predict(backbone, None, 0, branches)
    first, still_first, second = (predict(backbone, plan, index, branches) for index in (0, 4, 5))
    assert torch.equal(first, still_first)
    assert not torch.allclose(first[0], second[0], atol=1e-4)
    for found in (first, second):
        assert not torch.allclose(found[0], plain[0], atol=1e-4)
        torch.testing.assert_close(found[1:], plain[1:], atol=1e-4, rtol=1e-4)


def test_each_of_the_two_can_be_left_out(backbone: Any) -> None:
    steps = steps_of(backbone.schedule.grid(10), 8, 8)
    branches = ["edit", "reconstruction"]
    plain = predict(backbone, None, 0, branches)
    turn = steps[4].felt_log_snr
    assert torch.equal(predict(backbone, SelfAttentionPlan(turn, first=False), 0, branches), plain)
    assert torch.equal(predict(backbone, SelfAttentionPlan(turn, second=False), 9, branches), plain)


def test_without_a_reconstruction_in_the_call_nothing_happens(backbone: Any) -> None:
    plain = predict(backbone, None, 0, ["edit", "unconditional"])
    assert torch.equal(predict(backbone, SelfAttentionPlan(0.0), 0, ["edit", "unconditional"]), plain)
