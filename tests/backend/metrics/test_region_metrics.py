"""Table 8 of region-of-interest-aware diffusion: each figure against its formula written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.controls.spectrum_probe import SpectrumProbe
from mattebox_backend.diffusion.control import Run, Step
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.sampler import steps_of
from mattebox_backend.diffusion.trajectory import Trajectory
from mattebox_backend.edit import Region
from mattebox_backend.masks import stack_regions
from mattebox_backend.metrics.errors import MetricInputError
from mattebox_backend.metrics.fidelity import masked_l1, masked_l2
from mattebox_backend.metrics.sensitivity import mask_sensitivity, perturbed_masks
from mattebox_backend.metrics.spectra import RegionSpectra, region_spectra, spectrum, spread


def clips(seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 256, (2, 2, 9, 7, 3), np.uint8)
    return one, other, rng.random((2, 9, 7)) < 0.4


def test_l1_and_l2_are_means_over_the_masked_values() -> None:
    one, other, mask = clips()
    differences = [
        (float(one[f, y, x, c]) - float(other[f, y, x, c])) / 255
        for f, y, x in zip(*np.nonzero(mask), strict=True)
        for c in range(3)
    ]
    assert masked_l1(one, other, mask) == pytest.approx(sum(map(abs, differences)) / len(differences))
    squares = sum(d * d for d in differences) / len(differences)
    assert masked_l2(one, other, mask) == pytest.approx(squares**0.5)
    assert masked_l1(one, one, mask) == masked_l2(one, one, mask) == 0
    assert masked_l1(one, other, np.zeros_like(mask)) is None
    assert masked_l2(one, other, np.zeros_like(mask)) is None
    with pytest.raises(MetricInputError, match="one mask per frame"):
        masked_l1(one, other, mask[:1])


def reference_covariance(samples: list[Any]) -> Any:
    mean = sum(samples) / len(samples)
    return sum(np.outer(z - mean, z - mean) for z in samples) / len(samples)


@pytest.mark.parametrize("channels", [1, 4])
def test_spectra_are_the_eigenvalues_of_the_covariances(channels: int) -> None:
    rng = np.random.default_rng(3)
    features = rng.standard_normal((2, channels, 5, 6)) * np.arange(1, channels + 1)[:, None, None]
    mask = rng.random((2, 5, 6))
    found = region_spectra(features.astype(np.float32), mask)
    for spectra, wanted in ((found.region, True), (found.background, False)):
        samples = [
            features[f, :, y, x].astype(np.float32).astype(np.float64)
            for f in range(2)
            for y in range(5)
            for x in range(6)
            if (mask[f, y, x] >= 0.5) == wanted
        ]
        assert spectra is not None
        expected = np.sort(np.linalg.eigvals(reference_covariance(samples)).real)[::-1]
        np.testing.assert_allclose(spectra, expected, atol=1e-9)


def test_a_region_of_one_place_has_no_spectrum_and_a_still_one_has_no_spread() -> None:
    features = np.random.default_rng(0).standard_normal((1, 3, 4, 4))
    mask = np.zeros((1, 4, 4))
    mask[0, 1, 1] = 1
    found = region_spectra(features, mask)
    assert found.region is None
    assert found.background is not None
    assert region_spectra(features, np.ones_like(mask)).background is None
    still = spectrum(np.ones((5, 3)))
    assert still is not None
    assert not still.any()
    assert spread(still) == 1
    assert spread(np.array([2.0, 2.0, 2.0])) == pytest.approx(3)
    assert spread(np.array([5.0, 0, 0])) == pytest.approx(1)
    with pytest.raises(MetricInputError, match="at the features' size"):
        region_spectra(features, np.zeros((1, 8, 8)))


def test_spectra_are_told_step_by_step_of_the_latents_that_it_led_to(backbone: Any) -> None:
    masks = np.zeros((1, 64, 64), np.uint8)
    masks[:, :, :32] = 255
    regions = stack_regions([Region("r", "x", masks)])
    trajectory = Trajectory(np.zeros((3, 1, 4, 8, 8), np.float16))
    run = Run(Denoiser(backbone), backbone.schedule.grid(2), regions, trajectory, torch.Generator())
    told: list[tuple[Step, RegionSpectra]] = []
    probe = SpectrumProbe(lambda step, spectra: told.append((step, spectra)))
    probe.prepare(run)
    step = steps_of(run.grid, 8, 8)[1]
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    assert probe.after_step(latents, step) is latents
    ((seen, spectra),) = told
    assert seen == step
    expected = region_spectra(latents.numpy(), np.repeat([[[1] * 4 + [0] * 4]], 8, 1))
    np.testing.assert_allclose(spectra.region, expected.region)
    np.testing.assert_allclose(spectra.background, expected.background)


def test_sensitivity_is_the_change_over_the_change_of_the_mask() -> None:
    one, other, _ = clips(4)
    mask = np.zeros((2, 9, 7), np.uint8)
    mask[:, 2:6, 2:5] = 255
    moved = mask.copy()
    moved[0, 6, 2:5] = 255
    found = mask_sensitivity(one, other, mask, moved, width=1)
    total = sum(((float(a) - float(b)) / 255) ** 2 for a, b in zip(one.ravel(), other.ravel(), strict=True))
    assert found is not None
    assert found.overall == pytest.approx((total / 3) ** 0.5, rel=1e-5)
    assert found.near**2 + found.away**2 == pytest.approx(found.overall**2)
    assert mask_sensitivity(one, other, mask, mask) is None


def test_sensitivity_tells_the_border_from_the_rest() -> None:
    frames = np.zeros((1, 40, 40, 3), np.uint8)
    mask = np.zeros((1, 40, 40), np.uint8)
    mask[:, 10:30, 10:30] = 255
    wider = perturbed_masks(mask, 2)
    at_border, far = frames.copy(), frames.copy()
    at_border[:, 9, 10:30] = 255  # between the two edges
    far[:, 0, :] = 255
    near = mask_sensitivity(frames, at_border, mask, wider)
    away = mask_sensitivity(frames, far, mask, wider)
    assert near is not None
    assert away is not None
    assert near.away == 0 < near.near
    assert away.near == 0 < away.away
    with pytest.raises(MetricInputError, match="at least 1"):
        mask_sensitivity(frames, far, mask, wider, width=0)


def test_masks_grow_and_shrink_by_pixels_and_the_frame_is_no_edge() -> None:
    mask = np.zeros((1, 20, 20), np.uint8)
    mask[:, 5:12, 0:10] = 255
    assert np.array_equal(perturbed_masks(mask, 0), mask)
    smaller = perturbed_masks(mask, -2)[0] > 0
    assert smaller[7:10, 0:8].all()
    assert smaller.sum() == 3 * 8
    larger = perturbed_masks(mask, 2)[0] > 0
    assert larger[5:12, 0:12].all()
    assert larger.sum() > 7 * 12
