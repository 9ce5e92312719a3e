"""Decoupled guidance against eqs. 2 and 3 written out, and on a tiny inflated model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mattebox_backend.attention import Reach, SiteKind
from mattebox_backend.attention.capture import TimeCapture
from mattebox_backend.backbones.inflated import inflate
from mattebox_backend.controls import decoupled_guidance
from mattebox_backend.controls.decoupled_guidance import (
    SCALE,
    DecoupledGuidance,
    GuidanceWeights,
    appearance_term,
    middle_of_decoder,
    temporal_term,
)
from mattebox_backend.diffusion.denoiser import Denoiser, Windows
from mattebox_backend.diffusion.sampler import steps_of
from mattebox_backend.edit import Region
from mattebox_backend.masks import RegionStack, stack_regions
from numpy.typing import NDArray


def reference_temporal(maps: NDArray[Any], held: NDArray[Any], inside: NDArray[Any], eta: Any) -> float:
    """Eq. 2, place by place, head by head, frame by frame."""
    places, heads, frames, _ = maps.shape
    found: dict[bool, list[float]] = {True: [], False: []}
    for place in range(places):
        for frame in range(frames):
            errors = []
            for head in range(heads):
                row = list(held[place, head, frame])
                best = row.index(max(row))
                errors.append((row[best] - maps[place, head, frame, best]) ** 2)
            found[bool(inside[frame, place])].append(sum(errors) / heads)
    means = [sum(found[key]) / len(found[key]) if found[key] else 0.0 for key in (True, False)]
    return float(eta[0] * means[0] + eta[1] * means[1])


def reference_appearance(keys: NDArray[Any], held: NDArray[Any], inside: NDArray[Any], zeta: Any) -> float:
    """Eq. 3 on masked spatial means, frame by frame."""
    heads, _, depth = keys.shape
    frames, tokens = inside.shape
    total = 0.0
    for weight, wanted in zip(zeta, (True, False), strict=True):
        errors = []
        for frame in range(frames):
            places = [frame * tokens + t for t in range(tokens) if inside[frame, t] == wanted]
            if places:
                difference = keys[:, places].mean(1) - held[:, places].mean(1)
                errors.append((difference**2).sum() / (heads * depth))
        if errors:
            total += weight * sum(errors) / len(errors)
    return float(total)


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 6), st.sampled_from([0.0, 0.4, 1.0]))
def test_both_terms_are_those_of_the_formulae(seed: int, frames: int, tokens: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    inside = rng.random((frames, tokens)) < share
    maps, held = rng.random((2, tokens, 2, frames, frames))
    keys, held_keys = rng.standard_normal((2, 2, frames * tokens, 3))
    weights = (0.7, 0.2)
    found = temporal_term(*map(torch.from_numpy, (maps, held, inside)), weights)
    # float32 inside: the backbone's maps and keys have no more.
    assert float(found) == pytest.approx(reference_temporal(maps, held, inside, weights), abs=1e-6)
    found = appearance_term(*map(torch.from_numpy, (keys, held_keys, inside)), weights)
    assert float(found) == pytest.approx(reference_appearance(keys, held_keys, inside, weights), abs=1e-5)


@pytest.fixture(scope="module")
def inflated(_loaded: Any) -> Any:
    """Inflated, with a temporal attention that does something."""
    model = inflate(_loaded, seed=1)
    with torch.no_grad():
        for name, parameter in model.unet.named_parameters():
            if "attn_temp.to_out" in name:
                generator = torch.Generator().manual_seed(len(name))
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def regions_of(frames: int, *, empty: bool = False) -> RegionStack:
    masks = np.zeros((frames, 64, 48), np.uint8)
    if not empty:
        masks[:, :30, :20] = 255
    return stack_regions([Region("r", "a red circle", masks)])


def latents_of(frames: int, seed: int) -> torch.Tensor:
    return torch.randn(frames, 4, 8, 6, generator=torch.Generator().manual_seed(seed))


def guidance_of(
    model: Any,
    weights: GuidanceWeights,
    *,
    frames: int = 3,
    empty: bool = False,
    windows: Windows | None = None,
    checkpointing: bool = False,
) -> DecoupledGuidance:
    text = model.embed("a red circle").states
    denoiser = Denoiser(model, Reach.OWN, windows)
    regions = regions_of(frames, empty=empty)
    return DecoupledGuidance(denoiser, text, regions, weights, checkpointing=checkpointing)


def step_of(model: Any) -> Any:
    return steps_of(model.schedule.grid(10), 8, 6)[4]


def test_the_prediction_is_the_backbones_own_and_the_guidance_leads_towards_the_reference(
    inflated: Any,
) -> None:
    latents, reference, step = latents_of(3, 1), latents_of(3, 2), step_of(inflated)
    guide = guidance_of(inflated, GuidanceWeights(0.5, 0.5, 0.5, 0.5))
    noise, gradient = guide(latents, reference, step)
    text = inflated.embed("a red circle").states
    expected = inflated.predict(
        latents.unsqueeze(0), step.timestep, text.unsqueeze(0), ["source"], reach=Reach.OWN
    )[0]
    torch.testing.assert_close(noise, expected, atol=1e-6, rtol=1e-5)
    assert gradient.abs().max() > 0
    # At the reference itself there is nothing to correct.
    assert guide(reference, reference, step)[1].abs().max() < 1e-7
    listening = [s for s in inflated.attention_sites() if inflated.switchboard.listeners(s)]
    assert listening == []


def test_all_four_terms_of_one_pass_are_the_sum_of_each_alone(inflated: Any) -> None:
    latents, reference, step = latents_of(3, 1), latents_of(3, 2), step_of(inflated)
    each = [GuidanceWeights(*(float(place == n) for n in range(4))) for place in range(4)]
    alone = [guidance_of(inflated, weights)(latents, reference, step)[1] for weights in each]
    assert all(gradient.abs().max() > 0 for gradient in alone)
    together = guidance_of(inflated, GuidanceWeights(0.5, 0.4, 0.3, 0.2))(latents, reference, step)[1]
    expected = 0.5 * alone[0] + 0.4 * alone[1] + 0.3 * alone[2] + 0.2 * alone[3]
    torch.testing.assert_close(together, expected, atol=1e-6, rtol=1e-4)


def test_the_guidance_is_the_slope_of_the_scaled_means(inflated: Any) -> None:
    latents, reference, step = latents_of(3, 1), latents_of(3, 2), step_of(inflated)
    weights = GuidanceWeights(0.6, 0.3, 0.4, 0.2)
    gradient = guidance_of(inflated, weights)(latents, reference, step)[1]
    text = inflated.embed("a red circle").states.unsqueeze(0)
    sites = middle_of_decoder(inflated.attention_sites())
    over_time = [site for site in sites if site.kind is SiteKind.TEMPORAL]
    in_space = [site for site in sites if site.kind is SiteKind.SELF]
    regions = regions_of(3)

    def seen(at: torch.Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        capture = TimeCapture(inflated.switchboard, tuple(over_time), tuple(in_space), "source")
        with capture.listening(), torch.no_grad():
            inflated.predict(at.unsqueeze(0), step.timestep, text, ["source"], reach=Reach.OWN)
            return capture.maps(), capture.keys()

    held_maps, held_keys = seen(reference)

    def loss(at: torch.Tensor) -> float:
        maps, keys = seen(at)
        inside = {site.name: regions.owners(*site.grid(8, 6)).reshape(3, -1) > 0 for site in sites}
        time_terms = [
            reference_temporal(maps[n].double().numpy(), held_maps[n].double().numpy(), inside[n], (0.6, 0.3))
            for n in maps
        ]
        look_terms = [
            reference_appearance(
                keys[n].double().numpy(), held_keys[n].double().numpy(), inside[n], (0.4, 0.2)
            )
            for n in keys
        ]
        means = sum(time_terms) / len(time_terms) + sum(look_terms) / len(look_terms)
        return SCALE * (8 * 6) / (64 * 64) * means

    along = gradient / gradient.norm()
    slope = (loss(latents + 0.02 * along) - loss(latents - 0.02 * along)) / 0.04
    assert slope == pytest.approx(float(gradient.norm()), rel=0.03)


def test_two_passes_serve_all_terms_and_none_is_wasted_without_guidance(
    inflated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    original = type(inflated).predict

    def counted(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        passes.append(torch.is_grad_enabled())
        return original(self, *args, **kwargs)

    monkeypatch.setattr(type(inflated), "predict", counted)
    with torch.no_grad():
        guidance_of(inflated, GuidanceWeights())(latents_of(3, 1), latents_of(3, 2), step_of(inflated))
        assert passes == [False, True]
        none = guidance_of(inflated, GuidanceWeights(0, 0, 0, 0))
        assert none(latents_of(3, 1), latents_of(3, 2), step_of(inflated))[1].abs().max() == 0
    assert passes == [False, True, False]


def test_saving_memory_gives_the_same_guidance(inflated: Any) -> None:
    arguments = (latents_of(3, 1), latents_of(3, 2), step_of(inflated))
    plain = guidance_of(inflated, GuidanceWeights())(*arguments)
    saved = guidance_of(inflated, GuidanceWeights(), checkpointing=True)(*arguments)
    for found, expected in zip(saved, plain, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-4)


def test_an_empty_region_contributes_nothing(inflated: Any) -> None:
    inside_alone = GuidanceWeights(1.0, 0.0, 1.0, 0.0)
    guide = guidance_of(inflated, inside_alone, empty=True)
    gradient = guide(latents_of(3, 1), latents_of(3, 2), step_of(inflated))[1]
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_windows_are_guided_one_by_one_and_averaged(inflated: Any) -> None:
    latents, reference, step = latents_of(3, 1), latents_of(3, 2), step_of(inflated)
    found = guidance_of(inflated, GuidanceWeights(), windows=Windows(2, 1))(latents, reference, step)
    alone = guidance_of(inflated, GuidanceWeights(), frames=2)
    first, second = (alone(latents[s : s + 2], reference[s : s + 2], step) for s in (0, 1))
    for whole, a, b in zip(found, first, second, strict=True):
        torch.testing.assert_close(whole[0], a[0], atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(whole[1], (a[1] + b[0]) / 2, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(whole[2], b[1], atol=1e-6, rtol=1e-4)


def test_an_image_model_has_no_attention_over_time_to_hold(backbone: Any) -> None:
    assert not any(site.kind is SiteKind.TEMPORAL for site in backbone.attention_sites())
    gradient = guidance_of(backbone, GuidanceWeights(1, 1, 0, 0))(
        latents_of(3, 1), latents_of(3, 2), step_of(backbone)
    )[1]
    assert gradient.abs().max() == 0


def test_guidance_of_another_scale_is_another(inflated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = guidance_of(inflated, GuidanceWeights()).identity()
    assert guidance_of(inflated, GuidanceWeights()).identity() == before
    monkeypatch.setattr(decoupled_guidance, "SCALE", 1.0)
    assert guidance_of(inflated, GuidanceWeights()).identity() != before, (
        "what was kept would be taken for it"
    )


def test_the_guidance_of_an_edited_background_is_swapped() -> None:
    assert GuidanceWeights(0.5, 0.2, 0.0, 0.6).swapped() == GuidanceWeights(0.2, 0.5, 0.6, 0.0)


def test_the_middle_of_four_up_blocks_are_the_two_in_between(backbone: Any) -> None:
    from dataclasses import replace

    site = backbone.attention_sites()[0]
    four = [replace(site, name=f"up_blocks.{n}.attentions.0.attn1") for n in range(4)]
    assert middle_of_decoder([*four, replace(site, name="mid_block.attn1")]) == tuple(four[1:3])
    assert middle_of_decoder(four[:2]) == tuple(four[:2])
