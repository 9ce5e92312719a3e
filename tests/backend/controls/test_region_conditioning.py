"""A backbone that reads masks is told its regions for one run, and nothing of them stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.backbones import load_backbone
from mattebox_backend.backbones.region_diffusion import RegionDiffusion
from mattebox_backend.controls.edit_mask import EditMask, MaskShape
from mattebox_backend.controls.region_conditioning import RegionConditioning
from mattebox_backend.controls.text_layout import lay_out_text
from mattebox_backend.device import Device
from mattebox_backend.diffusion.control import Run
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.trajectory import Trajectory
from mattebox_backend.edit import Region
from mattebox_backend.masks import stack_regions


@pytest.fixture
def told(region_model: Path) -> RegionDiffusion:
    backbone = load_backbone(region_model, Device("cpu", 0, "float32"))
    assert isinstance(backbone, RegionDiffusion)
    return backbone


def region(prompt: str, area: Any) -> Region:
    masks = np.zeros((2, 64, 64), np.uint8)
    masks[area] = 255
    return Region(prompt, prompt, masks)


REGIONS = [region("a blue circle", np.s_[:, :, :20]), region("a green square", np.s_[1, 16:40, 30:50])]


def run_of(backbone: Any) -> Run:
    latents = np.random.default_rng(1).standard_normal((5, 2, 4, 8, 8)).astype(np.float16)
    regions, generator = stack_regions(REGIONS), torch.Generator()
    return Run(Denoiser(backbone), backbone.schedule.grid(4), regions, Trajectory(latents), generator)


def prepared(backbone: Any, run: Run, shape: MaskShape | None = None) -> tuple[EditMask, RegionConditioning]:
    text = lay_out_text(backbone, "a blue circle and a green square", run.regions.regions)
    mask = EditMask(shape or MaskShape())
    control = RegionConditioning(text, mask)
    mask.prepare(run)
    control.prepare(run)
    return mask, control


def test_it_tells_mask_source_and_words_and_takes_them_back(told: RegionDiffusion) -> None:
    run = run_of(told)
    mask, control = prepared(told, run)
    condition = told.condition
    assert condition is not None
    coverage = torch.from_numpy(run.regions.coverage(8, 8)).unsqueeze(1)
    torch.testing.assert_close(condition.mask[0], coverage)
    clean = torch.from_numpy(run.trajectory.latents[0].astype(np.float32))
    expected = torch.where(coverage > 0, torch.zeros(()), clean)
    torch.testing.assert_close(condition.source[0], expected)
    assert condition.words.sum(-1).tolist() == [[3, 3]]
    torch.testing.assert_close(condition.shares[0], torch.from_numpy(run.regions.shares(8, 8)))
    listening = [site for site in told.attention_sites() if told.switchboard.listeners(site)]
    assert len(listening) == len(told.attention_sites())
    control.close()
    assert told.condition is None
    assert not any(told.switchboard.listeners(site) for site in told.attention_sites())
    mask.close()


def predicted(backbone: Any, latents: torch.Tensor, frames: range | None = None) -> torch.Tensor:
    states = backbone.embed("a blue circle and a green square").states
    with torch.no_grad():
        found: torch.Tensor = backbone.predict(
            latents, 300, torch.stack([states, states]), ["edit", "unconditional"], frames=frames
        )
    return found


def test_the_network_heeds_what_it_is_told_frame_by_frame(told: RegionDiffusion) -> None:
    from mattebox_backend.attention import Reach

    latents = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    untold = predicted(told, latents)
    run = run_of(told)
    mask, control = prepared(told, run)
    try:
        both = predicted(told, latents)
        assert not torch.allclose(both, untold, atol=1e-3)
        states = told.embed("a blue circle and a green square").states
        text = torch.stack([states, states])
        with torch.no_grad():
            names = ["edit", "unconditional"]
            together = told.predict(latents, 300, text, names, reach=Reach.OWN)
            second = told.predict(latents[:, 1:], 300, text, names, frames=range(1, 2), reach=Reach.OWN)
        torch.testing.assert_close(together[:, 1:], second, atol=1e-4, rtol=1e-4)
        same = torch.cat([latents[:1], latents[:1]])
        found = predicted(told, same)
        assert not torch.allclose(found[0], found[1], atol=1e-5), "words were routed in every branch"
    finally:
        control.close()
        mask.close()
    torch.testing.assert_close(predicted(told, latents), untold, atol=1e-6, rtol=1e-6)


def test_a_smoothed_boundary_is_what_the_network_sees(told: RegionDiffusion) -> None:
    run = run_of(told)
    mask, control = prepared(told, run, MaskShape(smoothing=1.0))
    condition = told.condition
    assert condition is not None
    torch.testing.assert_close(condition.mask[0], mask.current)
    known = (condition.source[0] != 0).any(1)
    assert torch.equal(known, torch.from_numpy(run.regions.coverage(8, 8)) == 0)
    control.close()


def test_any_other_backbone_is_left_alone(backbone: Any) -> None:
    run = run_of(backbone)
    latents = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    before = predicted(backbone, latents)
    _, control = prepared(backbone, run)
    assert torch.equal(predicted(backbone, latents), before)
    control.close()


def test_gradients_are_the_same_when_memory_is_saved(told: RegionDiffusion) -> None:
    run = run_of(told)
    mask, control = prepared(told, run)
    states = told.embed("a blue circle and a green square").states.unsqueeze(0)
    gradients = []
    try:
        for saving in (False, True):
            latents = torch.ones(1, 2, 4, 8, 8).requires_grad_()
            if saving:
                with told.saving_memory():
                    loss = told.predict(latents, 300, states, ["edit"]).square().sum()
                    gradients.append(torch.autograd.grad(loss, latents)[0])
            else:
                loss = told.predict(latents, 300, states, ["edit"]).square().sum()
                gradients.append(torch.autograd.grad(loss, latents)[0])
    finally:
        control.close()
        mask.close()
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)
