"""Figures that ask a model, or a second result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mattebox_backend.bench.region_figures import region_figures, with_dilated_masks
from mattebox_backend.device import choose_device
from mattebox_backend.edit import Edit, Region
from mattebox_backend.metrics.spectra import spectrum, spread
from mattebox_backend.models.registry import ModelRegistry


def edit_of(masks: np.ndarray) -> Edit:
    regions = (Region("a", "x", masks), Region("b", "y", np.zeros_like(masks)))
    return Edit(Path("c.mkv"), "", 0, len(masks), "x", "y", "roi-aware", "m", 0, regions, (), {})


def test_spreads_are_those_of_the_latents_inside_and_outside(untrained_model: Path) -> None:
    backbone = ModelRegistry().load(str(untrained_model), choose_device("cpu"))
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (2, 128, 128, 3), np.uint8)
    masks = np.zeros((2, 128, 128), np.uint8)
    masks[0, :64] = 255  # of the second frame nothing
    found = region_figures(frames, edit_of(masks), None, backbone)
    latents = backbone.encode(frames).numpy().astype(np.float64)
    half = latents.shape[2] // 2
    inside = latents[0, :, :half].reshape(4, -1).T
    outside = np.concatenate([latents[0, :, half:].reshape(4, -1).T, latents[1].reshape(4, -1).T])
    for samples, value in ((inside, found.spread_region), (outside, found.spread_background)):
        eigenvalues = spectrum(samples)
        assert eigenvalues is not None
        assert value == pytest.approx(spread(eigenvalues))
    assert found.sensitivity is None


def test_without_a_region_only_the_background_has_a_spread(untrained_model: Path) -> None:
    backbone = ModelRegistry().load(str(untrained_model), choose_device("cpu"))
    frames = np.random.default_rng(0).integers(0, 256, (1, 96, 128, 3), np.uint8)
    edit = edit_of(np.zeros((1, 96, 128), np.uint8))
    other = (255 - frames, with_dilated_masks(edit, 2))
    found = region_figures(frames, edit, other, backbone)
    assert found.sensitivity is None, "an empty mask does not grow"
    assert found.spread_region is None
    assert found.spread_background is not None


def test_the_masks_of_every_region_are_dilated() -> None:
    masks = np.zeros((1, 20, 20), np.uint8)
    masks[0, 10, 10] = 255
    wider = with_dilated_masks(edit_of(masks), 2).regions
    assert wider[0].masks[0, 10].nonzero()[0].tolist() == [8, 9, 10, 11, 12]
    assert not wider[1].masks.any()
