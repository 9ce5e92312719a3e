"""Settings that fit, of those the quickest, and what is said about them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from diffusers import WanTransformer3DModel
from mattebox_backend.backbones.wan import Wan
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.lora import planner
from mattebox_backend.lora.footprint import BlockFootprint, Bytes, Footprint, footprint, loaded_footprint
from mattebox_backend.lora.planner import (
    Choices,
    ClipSize,
    Plan,
    Settings,
    expect_sampling,
    expect_training,
    memory_for,
    plan_sampling,
    plan_training,
)

MB = 1 << 20
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
CLIP = ClipSize(49, 832, 480, 104, 60, 4)
"""49 frames of Wan's small size: 13 latent frames of 30 x 52 tokens."""


def network(blocks: int = 10) -> Footprint:
    """Round numbers: 100 MB a block, 50 MB beside; per token 10 kB kept, 1 kB entering, 2 kB at work."""
    block = BlockFootprint(100 * MB, Bytes(10_000.0, 5.0), Bytes(1_000.0))
    return Footprint(
        "round",
        (block,) * blocks,
        50 * MB,
        1000,
        7,
        (Bytes(2_000.0), Bytes(1_000.0, 9e6)),
        (Bytes(3_000.0), Bytes(0.0, 1e6)),
        (1, 2, 2),
        0,
        128,
    )


TOKENS = 13 * 30 * 52


def test_all_activations_are_kept_or_those_of_one_block_and_what_enters_the_others() -> None:
    kept = expect_training(network(), CLIP, Settings(0, False, 0))
    again = expect_training(network(), CLIP, Settings(0, True, 0))
    working = max(2_000.0 * TOKENS, 1_000.0 * TOKENS + 9e6) + 7
    assert kept.activations == 10 * (10_000.0 * TOKENS + 5) + working
    assert again.activations == 10 * 1_000.0 * TOKENS + (10_000.0 * TOKENS + 5) + working
    assert kept.weights == again.weights == 1050 * MB
    assert (kept.adapter, kept.optimiser) == (8_000, 12_000)
    assert kept.total == kept.weights + kept.activations + 20_000


@pytest.mark.parametrize(
    ("swapped", "ahead", "resident"),
    [
        (0, False, 10),
        (1, False, 10),
        (2, False, 9),
        (10, False, 1),
        (2, True, 10),
        (3, True, 9),
        (10, True, 2),
    ],
)
def test_the_more_blocks_are_swapped_the_fewer_weights_are_there(
    swapped: int, ahead: bool, resident: int
) -> None:
    for expect in (expect_training, expect_sampling):
        expected = expect(network(), CLIP, Settings(0, False, swapped), ahead=ahead)
        assert expected.weights == (50 + 100 * resident) * MB


def test_of_blocks_of_two_sizes_the_large_ones_count() -> None:
    small, large = network().blocks[0], replace(network().blocks[0], weights=300 * MB)
    mixed = replace(network(), blocks=(large, large, small, small))
    assert expect_training(mixed, CLIP, Settings(0, True, 4)).weights == (50 + 600) * MB
    assert expect_training(mixed, CLIP, Settings(0, True, 4), ahead=False).weights == (50 + 300) * MB


def test_a_window_takes_the_memory_of_its_own_tokens() -> None:
    whole, window = (expect_training(network(), CLIP, Settings(size, True, 0)) for size in (0, 9))
    assert whole.activations - 7 - 5 == pytest.approx(13 / 3 * (window.activations - 7 - 5), rel=0.05)


def test_sampling_keeps_nothing_and_runs_branches_together_where_they_are_small() -> None:
    many = expect_sampling(network(), CLIP, Settings(0, False, 0), branches=3)
    assert many.activations == 3_000.0 * TOKENS
    small = replace(CLIP, latent_height=20, latent_width=26)
    few = expect_sampling(network(), small, Settings(0, False, 0), branches=3)
    assert few.activations == 3 * max(3_000.0 * 13 * 10 * 13, 1e6)
    assert (few.adapter, few.optimiser) == (4_000, 0)


def needed(settings: Settings) -> float:
    """Memory in which settings fit exactly."""
    return expect_training(network(), CLIP, settings).total / 0.92


@pytest.mark.parametrize(
    ("roomy_for", "picked"),
    [
        (Settings(0, False, 0), Settings(0, False, 0)),
        (Settings(0, True, 0), Settings(0, True, 0)),
        (Settings(0, True, 7), Settings(0, True, 7)),
        (Settings(0, True, 10), Settings(0, True, 10)),
        (Settings(9, True, 10), Settings(9, True, 10)),
    ],
)
def test_the_quickest_that_fits_is_picked(roomy_for: Settings, picked: Settings) -> None:
    assert plan_training(network(), CLIP, needed(roomy_for) + 1).settings == picked


def test_every_plan_fits_and_more_memory_is_never_slower() -> None:
    order: list[Settings] = []
    for megabytes in range(400, 4000, 50):
        try:
            plan = plan_training(network(), CLIP, megabytes * MB)
        except InvalidEdit:
            assert not order
            continue
        assert plan.expected.total <= 0.92 * megabytes * MB
        assert plan.expected == expect_training(network(), CLIP, plan.settings)
        order.append(plan.settings)
    swaps = [s.blocks_to_swap for s in order if s.checkpointing and s.window_frames == 0]
    assert swaps == sorted(swaps, reverse=True)
    assert order[0].window_frames == 9
    assert order[-1] == Settings(0, False, 0)
    assert len(set(order)) > 5


def test_what_the_user_has_set_is_kept_to() -> None:
    fixed = Choices(windows=(17,), checkpointing=(True,), blocks_to_swap=4)
    assert plan_training(network(), CLIP, 9000 * MB, fixed).settings == Settings(17, True, 4)
    with pytest.raises(InvalidEdit, match="blocks_to_swap is 11 and the model has 10 blocks"):
        plan_training(network(), CLIP, 9000 * MB, Choices(blocks_to_swap=11))


def test_a_window_is_padded_to_what_the_model_takes_and_one_as_long_as_the_clip_is_the_clip() -> None:
    def window(size: int) -> int:
        plan: Plan = plan_training(network(), CLIP, 9000 * MB, Choices(windows=(size,)))
        return plan.settings.window_frames

    assert [window(size) for size in (6, 9, 10, 47, 49, 81)] == [9, 9, 13, 0, 0, 0]
    short = replace(CLIP, frames=7)
    assert plan_training(network(), short, 9000 * MB).settings.window_frames == 0


def test_where_nothing_fits_the_least_that_does_is_said() -> None:
    least = expect_training(network(), CLIP, Settings(9, True, 10)).total / 0.92
    with pytest.raises(InvalidEdit) as refused:
        plan_training(network(), CLIP, 200 * MB)
    message = str(refused.value)
    assert re.search(r"adapter of round on 49 frames of 832×480 takes (\d+) MB at least", message)
    assert f"takes {least / MB:,.0f} MB at least" in message
    assert "there are 200 MB" in message
    assert "windows of 9 frames, activations computed again, 10 of 10 blocks swapped" in message
    assert "a smaller size, on fewer frames, or on a card with more memory" in message
    assert plan_training(network(), CLIP, least + MB).settings == Settings(9, True, 10)


def test_the_sentence_says_what_is_picked_and_every_figure() -> None:
    plan = plan_training(network(), CLIP, 4000 * MB, Choices(checkpointing=(True,)))
    expected = plan.expected
    assert plan.sentence == (
        "Training an adapter of round on 49 frames of 832×480: the whole clip, activations computed again, "
        f"0 of 10 blocks swapped; expected to take {expected.total / MB:,.0f} MB of 4,000 MB "
        f"(weights 1,050 MB, activations {expected.activations / MB:,.0f} MB, adapter 0 MB, optimiser 0 MB)."
    )


def test_before_training_the_autoencoder_has_the_device_to_itself() -> None:
    plan = plan_training(network(), CLIP, 9000 * MB, autoencoder=3000.0 * MB)
    assert plan.sentence.endswith("; its autoencoder, by itself, 3,000 MB.")
    assert plan.expected == plan_training(network(), CLIP, 9000 * MB).expected
    with pytest.raises(InvalidEdit, match=r"takes 3,261 MB at least \(for its autoencoder\)"):
        plan_training(network(), CLIP, 3200 * MB, autoencoder=3000.0 * MB)


def test_between_steps_of_sampling_the_autoencoder_is_there_beside_the_weights() -> None:
    plan = plan_sampling(network(), CLIP, 4000 * MB, autoencoder=3000.0 * MB)
    assert plan.expected.activations == 3000 * MB
    assert 0 < plan.settings.blocks_to_swap < 10
    step = expect_sampling(network(), CLIP, plan.settings).activations
    small = plan_sampling(network(), CLIP, 4000 * MB, autoencoder=step - 1)
    assert small.expected.activations == step
    assert small.settings.blocks_to_swap == 0
    with pytest.raises(InvalidEdit, match=r"takes 3,533 MB at least"):
        plan_sampling(network(), CLIP, 3200 * MB, autoencoder=3000.0 * MB)


def test_what_a_loaded_network_takes_is_its_own_to_count_with(
    wan: Wan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "free_memory_mb", lambda device: 500.0)
    assert memory_for(wan) == 500 * MB + sum(parameter.nbytes for parameter in wan.network.parameters())
    network_of = loaded_footprint(wan, 16, feed_forward=True)
    clip = ClipSize(17, 48, 32, 6, 4, 4)
    assert plan_training(network_of, clip, memory_for(wan), ahead=False).settings == Settings(0, False, 0)


def test_sampling_is_planned_likewise() -> None:
    roomy = plan_sampling(network(), CLIP, 9000 * MB)
    assert roomy.settings == Settings(0, False, 0)
    tight = expect_sampling(network(), CLIP, Settings(0, False, 10)).total / 0.92
    assert plan_sampling(network(), CLIP, tight + 1).settings == Settings(0, False, 10)
    with pytest.raises(InvalidEdit, match=r"Sampling with round on 49 frames .* at least"):
        plan_sampling(network(), CLIP, tight - MB)
    windows = Choices(windows=(0, 17))
    assert plan_sampling(network(), CLIP, tight - MB, windows).settings.window_frames == 17
    assert plan_sampling(network(), CLIP, 9000 * MB, windows).settings.window_frames == 0


@pytest.fixture(scope="module")
def wan_14b() -> Footprint:
    """Of Wan2.1-I2V-14B with an adapter on all linear layers of its blocks."""
    with torch.device("meta"):
        model = WanTransformer3DModel(in_channels=36, image_dim=1280, added_kv_proj_dim=5120)
    layers = [f"{attention}.{name}" for attention in ("attn1", "attn2") for name in ATTENTION]
    layers += ["ffn.net.0.proj", "ffn.net.2"]
    names = [f"blocks.{block}.{layer}" for block in range(40) for layer in layers]
    return footprint("Wan2.1-I2V-14B", model, list(model.blocks), names, 16, "bfloat16")


@pytest.mark.parametrize(
    ("frames", "swapped", "reported"),
    [(9, 16, 16_305), (9, 32, 9_987), (9, 38, 7_617), (49, 38, 21_522)],
)
def test_the_papers_own_figures_are_met(wan_14b: Footprint, frames: int, swapped: int, reported: int) -> None:
    """Tables 4 and 5 of mask-aware LoRA, MB: a block more at rest saves 395 MB there, so its blocks are of
    one byte per parameter, and of those that rest two are on the device.
    """
    clip = replace(CLIP, frames=frames)
    expected = expect_training(wan_14b, clip, Settings(0, True, swapped))
    in_one_byte = expected.total - (expected.weights - wan_14b.other_weights) / 2
    assert in_one_byte / MB == pytest.approx(reported, rel=0.03)


@pytest.mark.parametrize(
    ("gigabytes", "picked"),
    [(12, Settings(9, True, 36)), (24, Settings(0, True, 39)), (80, Settings(0, True, 0))],
)
def test_what_is_picked_for_the_full_model(wan_14b: Footprint, gigabytes: int, picked: Settings) -> None:
    assert plan_training(wan_14b, CLIP, gigabytes << 30).settings == picked
