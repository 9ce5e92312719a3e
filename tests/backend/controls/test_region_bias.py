"""Region bias and routing against eqs. 3.5–3.10 written out, one pair of tokens at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.attention import AttentionCall, AttentionSite, Reach, SiteKind, attend
from mattebox_backend.controls.region_bias import BiasStrength, RegionBias, region_bias
from mattebox_backend.controls.region_routing import RegionRouting, region_routing, word_indicator
from mattebox_backend.controls.text_layout import TextLayout, lay_out_text
from mattebox_backend.diffusion.control import Run
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.sampler import steps_of
from mattebox_backend.diffusion.trajectory import Trajectory
from mattebox_backend.edit import Region
from mattebox_backend.masks import area_coverage, stack_regions
from numpy.typing import NDArray

STRENGTH = BiasStrength(inside=1.5, outwards=-0.7, inwards=-2.0)
CPU = torch.device("cpu")


def reference(
    query: NDArray[Any], key: NDArray[Any], value: NDArray[Any], bias: NDArray[Any]
) -> NDArray[Any]:
    """softmax(q·k/√d + bias)·v, one query at a time."""
    rows = []
    for i, q in enumerate(query):
        logits = np.array([q @ k / math.sqrt(len(q)) + bias[i, j] for j, k in enumerate(key)])
        weights = np.exp(logits - logits.max())
        rows.append((weights / weights.sum()) @ value)
    return np.stack(rows)


def bias_of(queries: NDArray[Any], keys: NDArray[Any], s: BiasStrength) -> NDArray[Any]:
    """Eq. 3.6 for each pair."""
    bias = np.zeros((len(queries), len(keys)))
    for i, m_i in enumerate(queries):
        for j, m_j in enumerate(keys):
            bias[i, j] = s.inside * m_i * m_j + s.outwards * m_i * (1 - m_j) + s.inwards * (1 - m_i) * m_j
    return bias


@pytest.mark.parametrize("kind", ["soft", "empty", "full", "one token"])
def test_the_bias_is_that_of_the_formula(kind: str) -> None:
    rng = np.random.default_rng(4)
    masks = {"soft": rng.random(11), "empty": np.zeros(11), "full": np.ones(11), "one token": np.eye(11)[3]}
    queries, keys = masks[kind], rng.random(7)
    query, key, value = rng.standard_normal((11, 8)), rng.standard_normal((7, 8)), rng.standard_normal((7, 8))
    term = region_bias(torch.from_numpy(queries), torch.from_numpy(keys), STRENGTH)
    assert term.query.shape[-1] == term.key.shape[-1] <= 3
    given = (torch.from_numpy(x)[None, None] for x in (query, key, value))
    found = attend(*given, [term])[0, 0].numpy()
    np.testing.assert_allclose(
        found, reference(query, key, value, bias_of(queries, keys, STRENGTH)), atol=1e-6
    )


def region(name: str, area: Any, frames: int = 3, size: tuple[int, int] = (64, 48)) -> Region:
    masks = np.zeros((frames, *size), np.uint8)
    masks[area] = 255
    return Region(name, name, masks)


def run_of(backbone: Any, *regions: Region, frames: int = 3) -> Run:
    latents = np.random.default_rng(3).standard_normal((5, frames, 4, 8, 6)).astype(np.float16)
    trajectory, generator = Trajectory(latents), torch.Generator()
    return Run(Denoiser(backbone), backbone.schedule.grid(4), stack_regions(regions), trajectory, generator)


def call_of(site: AttentionSite, frames: range, key_frames: tuple[int, ...], keys: int) -> AttentionCall:
    return AttentionCall(site, ("edit", "unconditional"), frames, key_frames, site.grid(8, 6), keys, CPU)


@pytest.mark.parametrize(
    ("frames", "seen"), [(range(3), (0, 1, 2)), (range(1, 2), (1,)), (range(2, 3), (0, 1))]
)
def test_masks_are_those_of_the_frames_that_look_and_are_looked_at(
    backbone: Any, frames: range, seen: tuple[int, ...]
) -> None:
    moving = region("a blue circle", np.s_[0, 8:40, 3:21])  # in the first frame alone, cells partly covered
    run = run_of(backbone, moving)
    control = RegionBias(STRENGTH, window=20.0, smallest_reduction=1)
    control.prepare(run)
    control.before_step(torch.empty(0), steps_of(run.grid, 8, 6)[0])
    sites = [site for site in backbone.attention_sites() if site.kind is SiteKind.SELF]
    assert {site.reduction for site in sites} == {1, 2}
    for site in sites:
        assert control in backbone.switchboard.listeners(site)
        grid = site.grid(8, 6)
        coverage = area_coverage(moving.masks, *grid)
        queries, keys = (np.concatenate([coverage[f].ravel() for f in which]) for which in (frames, seen))
        (term,) = control.terms(call_of(site, frames, seen, len(keys)))
        np.testing.assert_allclose(
            (term.query.double() @ term.key.double().T).numpy(), bias_of(queries, keys, STRENGTH), atol=1e-6
        )
    control.close()
    assert not any(backbone.switchboard.listeners(site) for site in sites)


def test_it_biases_the_layers_and_levels_that_it_is_told_to(backbone: Any) -> None:
    run = run_of(backbone, region("a blue circle", np.s_[:, :30]))
    steps = steps_of(run.grid, 8, 6)
    control = RegionBias(STRENGTH, window=steps[1].felt_log_snr, smallest_reduction=2)
    control.prepare(run)
    listening = [s for s in backbone.attention_sites() if backbone.switchboard.listeners(s)]
    assert {site.reduction for site in listening} == {2}
    call = call_of(listening[0], range(3), (0, 1, 2), 36)
    asked = []
    for step in steps:
        control.before_step(torch.empty(0), step)
        asked.append(bool(control.terms(call)))
    assert asked == [True, True, False, False]
    control.close()


@pytest.mark.parametrize("control", [RegionBias(BiasStrength(0, 0, 0), 20.0, 1), None])
def test_strengths_of_nothing_listen_nowhere(backbone: Any, control: Any) -> None:
    run = run_of(backbone, region("a blue circle", np.s_[:, :30]))
    control = control or RegionRouting(TextLayout("", torch.zeros(6, 3), ((1,),), (0,)), 0.0, 20.0, 1)
    control.prepare(run)
    assert not any(backbone.switchboard.listeners(site) for site in backbone.attention_sites())
    control.close()


@pytest.mark.parametrize("reach", list(Reach))
def test_a_strong_bias_cuts_the_background_off_from_the_region(backbone: Any, reach: Reach) -> None:
    """With η → −∞ nothing that happens inside is seen from outside, but through convolutions."""
    run = run_of(backbone, region("a blue circle", np.s_[:, :, 24:]))
    control = RegionBias(BiasStrength(0.0, 0.0, -200.0), 20.0, 1)
    site = next(s for s in backbone.attention_sites() if s.kind is SiteKind.SELF and s.reduction == 1)
    layer = backbone.unet.get_submodule(site.name)
    control.prepare(run)
    control.before_step(torch.empty(0), steps_of(run.grid, 8, 6)[0])
    from mattebox_backend.attention import CallLayout

    hidden = torch.randn(3, 48, 16, generator=torch.Generator().manual_seed(1))
    other = hidden.clone().view(3, 8, 6, 16)
    other[:, :, 3:] += 5
    layout = CallLayout(("edit",), range(3), (8, 6), reach)
    try:
        with torch.no_grad():
            before = layer(hidden, layout=layout).view(3, 8, 6, 16)
            after = layer(other.view(3, 48, 16), layout=layout).view(3, 8, 6, 16)
    finally:
        control.close()
    torch.testing.assert_close(before[:, :, :3], after[:, :, :3], atol=1e-5, rtol=1e-5)
    assert (before[:, :, 3:] - after[:, :, 3:]).abs().max() > 0.1


def test_routing_adds_the_share_of_each_words_region() -> None:
    rng = np.random.default_rng(5)
    shares, words = rng.random((2, 9)), np.zeros((2, 6))
    words[0, [1, 2]] = words[1, [2, 4]] = 1
    words[1, 2] = 0
    query, key, value = (rng.standard_normal((n, 4)) for n in (9, 6, 6))
    relevance = np.zeros((9, 6))
    for i in range(9):
        for word in range(6):
            for k in range(2):
                if words[k, word]:
                    relevance[i, word] += shares[k, i]
    term = region_routing(torch.from_numpy(shares), torch.from_numpy(words), 2.5)
    found = attend(*(torch.from_numpy(x)[None, None] for x in (query, key, value)), [term])[0, 0]
    np.testing.assert_allclose(found.numpy(), reference(query, key, value, 2.5 * relevance), atol=1e-6)


def test_routing_follows_the_visible_masks_and_steers_the_edit_alone(backbone: Any) -> None:
    low, top = region("a blue circle", np.s_[:, 8:40]), region("a green square", np.s_[1, 30:64, :20])
    run = run_of(backbone, low, top)
    text = lay_out_text(backbone, "a blue circle and a green square", [low, top])
    control = RegionRouting(text, 3.0, 20.0, 1)
    control.prepare(run)
    control.before_step(torch.empty(0), steps_of(run.grid, 8, 6)[0])
    site = next(s for s in backbone.attention_sites() if s.kind is SiteKind.CROSS)
    assert all(
        bool(backbone.switchboard.listeners(s)) == (s.kind is SiteKind.CROSS)
        for s in backbone.attention_sites()
    )
    frames = range(1, 3)
    (term,) = control.terms(call_of(site, frames, (), text.length))
    bias = (term.query.double() @ term.key.double().T).squeeze(1)
    grid = site.grid(8, 6)
    hidden = np.minimum(low.masks, 255 - top.masks)
    expected = np.zeros((2 * grid[0] * grid[1], text.length))
    for masks, words in ((hidden, text.words[0]), (top.masks, text.words[1])):
        coverage = area_coverage(masks, *grid)[1:].ravel()
        for word in words:
            expected[:, word] += 3.0 * coverage
    np.testing.assert_allclose(bias[0].numpy(), expected, atol=1e-5)
    assert not bias[1].any(), "a prompt without the regions' words was routed"
    alone = AttentionCall(site, ("unconditional",), frames, (), grid, text.length, CPU)
    assert control.terms(alone) == ()
    control.close()
    assert word_indicator(text).sum() == sum(len(words) for words in text.words)
