"""The mask of an edit, guidance over it, blends with it, and steps weighted by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.controls.edit_mask import EditMask, MaskShape
from mattebox_backend.controls.guidance import ClassifierFreeGuidance, GuidanceField
from mattebox_backend.controls.invariant_region import InvariantRegion
from mattebox_backend.controls.latent_blend import LatentBlend
from mattebox_backend.controls.mask_evolution import MaskEvolution, evolve
from mattebox_backend.controls.preconditioner import Preconditioner
from mattebox_backend.diffusion.control import Prediction, Run, Step
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.sampler import steps_of
from mattebox_backend.diffusion.trajectory import Trajectory
from mattebox_backend.edit import Region
from mattebox_backend.masks import area_coverage, smooth_mask, stack_regions
from numpy.typing import NDArray


def region() -> Region:
    masks = np.zeros((2, 64, 48), np.uint8)
    masks[0, 12:44, 8:28] = 255  # frame 1 holds nothing
    return Region("r", "a red circle", masks)


def run_of(backbone: Any) -> Run:
    latents = np.random.default_rng(1).standard_normal((7, 2, 4, 8, 6)).astype(np.float16)
    regions, generator = stack_regions([region()]), torch.Generator().manual_seed(3)
    return Run(Denoiser(backbone), backbone.schedule.grid(6), regions, Trajectory(latents), generator)


@pytest.fixture
def mask_of(backbone: Any) -> Callable[..., tuple[EditMask, Run]]:
    def build(shape: MaskShape | None = None) -> tuple[EditMask, Run]:
        mask, run = EditMask(shape or MaskShape()), run_of(backbone)
        mask.prepare(run)
        return mask, run

    return build


def noise(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 8, 6, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_coverage_of_each_latent_cell_smoothed_on_request(mask_of: Any) -> None:
    plain, _ = mask_of()
    coverage = area_coverage(region().masks, 8, 6)
    np.testing.assert_allclose(plain.current[:, 0].numpy(), coverage, atol=1e-6)
    soft, _ = mask_of(MaskShape(smoothing=1.0))
    np.testing.assert_allclose(soft.current[0, 0].numpy(), smooth_mask(coverage[0], 1.0), atol=1 / 255)
    assert not soft.current[1].any()
    values = soft.current[soft.current > 0]
    assert values.min() >= 1 / 255


def test_without_a_run_there_is_no_mask(mask_of: Any) -> None:
    mask, _ = mask_of()
    mask.close()
    with pytest.raises(RuntimeError, match="before its readers"):
        _ = mask.current


def at(step: Step, edit: torch.Tensor, away: torch.Tensor, latents: torch.Tensor | None = None) -> Prediction:
    return Prediction({"edit": edit, "away": away}, edit, noise(9) if latents is None else latents)


def test_a_field_guides_inside_and_leaves_the_background_unconditional(mask_of: Any) -> None:
    mask, run = mask_of()
    step, edit, away = steps_of(run.grid, 8, 6)[2], noise(1), noise(2)
    for outside in (0.0, 1.0, 0.3):
        field = GuidanceField(mask, background=outside)
        guidance = ClassifierFreeGuidance("away", torch.zeros(3, 4), 5.0, field=field)
        found = guidance.guide(at(step, edit, away), step)
        g = 5.0 * mask.current.double() + outside * (1 - mask.current.double())
        expected = away.double() + g * (edit.double() - away.double())
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    field = GuidanceField(mask)
    guidance = ClassifierFreeGuidance("away", torch.zeros(3, 4), 5.0, field=field)
    assert torch.equal(guidance.guide(at(step, edit, away), step)[1], away[1]), "an empty mask was guided"
    one = ClassifierFreeGuidance("away", torch.zeros(3, 4), 1.0, field=field)
    assert [branch.name for branch in one.branches(run)] == ["away"], "the background needs its prediction"


def test_guidance_rises_from_its_share_to_all_of_it(mask_of: Any) -> None:
    mask, _ = mask_of()
    rising = GuidanceField(mask, share=0.2, rise=(-4.0, 0.0))
    assert [rising.strength(10.0, level) for level in (-9.0, -4.0, -2.0, 0.0, 5.0)] == pytest.approx(
        [2.0, 2.0, 6.0, 10.0, 10.0]
    )
    two_phases = GuidanceField(mask, share=0.5, rise=(-1.0, -1.0))
    assert [two_phases.strength(10.0, level) for level in (-9.0, -1.01, -1.0, 3.0)] == [5.0, 5.0, 10.0, 10.0]
    assert GuidanceField(mask).strength(7.5, -20.0) == 7.5


def test_steps_are_weighted_by_the_mask(mask_of: Any) -> None:
    mask, run = mask_of(MaskShape(smoothing=1.6))
    step, before, after = steps_of(run.grid, 8, 6)[0], noise(1), noise(2)
    control = Preconditioner(mask, inside=1.4, outside=0.5)
    assert control.before_step(before, step) is before
    m = mask.current.double()
    weight = 1.4 * m + 0.5 * (1 - m)
    expected = before.double() + weight * (after.double() - before.double())
    torch.testing.assert_close(control.after_step(after, step).double(), expected, atol=1e-5, rtol=1e-5)
    neutral = Preconditioner(mask, 1.0, 1.0)
    neutral.before_step(before, step)
    assert torch.equal(neutral.after_step(after, step), after)


@pytest.mark.parametrize("blend", [LatentBlend, InvariantRegion])
def test_a_soft_blend_mixes_by_the_mask_and_ends_exact_where_it_is_zero(
    backbone: Any, mask_of: Any, blend: Any
) -> None:
    mask, run = mask_of(MaskShape(smoothing=0.8))
    control, hard = blend(mask), blend()
    given = noise(4)
    clean = run.trajectory.level(0, backbone.device)
    for step in steps_of(run.grid, 8, 6):
        for one in (control, hard):
            run.generator.manual_seed(3)
            one.prepare(run)
        found, sharp = control.after_step(given, step), hard.after_step(given, step)
        source = sharp[1]  # the regions do not show in frame 1
        assert torch.equal(found[1], source)
        outside = (area_coverage(region().masks, 8, 6)[0] == 0)[None].repeat(4, 0)
        m = mask.current[0].expand(4, -1, -1)[outside].double()
        expected = m * given[0][outside].double() + (1 - m) * sharp[0][outside].double()
        torch.testing.assert_close(found[0][outside].double(), expected, atol=1e-5, rtol=1e-5)
    untouched = (mask.current == 0).expand_as(clean)
    assert untouched.any()
    assert torch.equal(found[untouched], clean[untouched])


def reference_evolution(
    mask: NDArray[Any], difference: NDArray[Any], evolution: MaskEvolution
) -> NDArray[np.bool_]:
    """Ψ of one frame, cell by cell."""
    height, width = mask.shape
    mask = mask.copy()
    for _ in range(evolution.reach):
        after = mask.copy()
        for row in range(height):
            for column in range(width):
                around = [
                    (r, c)
                    for r in range(max(0, row - 1), min(height, row + 2))
                    for c in range(max(0, column - 1), min(width, column + 2))
                    if (r, c) != (row, column)
                ]
                beside = [difference[place] for place in around if not mask[place]]
                if mask[row, column]:
                    if beside and sum(beside) / len(beside) >= evolution.conflict:
                        after[row, column] = False
                elif len(beside) < len(around) and difference[row, column] <= evolution.agreement:
                    after[row, column] = True
        mask = after
    return mask


@pytest.mark.parametrize("reach", [1, 3])
@pytest.mark.parametrize("shape", [(7, 10), (1, 5), (1, 1)])
@pytest.mark.parametrize("held", [0.0, 0.4, 1.0])
def test_the_mask_evolves_as_its_rules_say(shape: tuple[int, int], held: float, reach: int) -> None:
    rng = np.random.default_rng(8)
    mask = rng.random((2, *shape)) < held
    clean, source = rng.standard_normal((2, 2, 3, *shape))
    evolution = MaskEvolution(reach, agreement=1.2, conflict=1.5)
    found = evolve(
        torch.from_numpy(mask).unsqueeze(1), torch.from_numpy(clean), torch.from_numpy(source), evolution
    )
    spread = max(float(source.std()), 1e-6)
    for frame in range(2):
        difference = np.sqrt(np.mean((clean[frame] - source[frame]) ** 2, axis=0)) / spread
        expected = reference_evolution(mask[frame], difference, evolution)
        assert np.array_equal(found[frame, 0].numpy(), expected)


def test_it_never_moves_further_than_its_reach() -> None:
    mask = torch.zeros(1, 1, 15, 15, dtype=torch.bool)
    mask[..., 4:11, 4:11] = True
    zero = torch.zeros(1, 2, 15, 15)
    noisy = torch.randn(1, 2, 15, 15, generator=torch.Generator().manual_seed(0))
    grown = evolve(mask, noisy, noisy, MaskEvolution(2, 0.5, 1.0))
    assert torch.equal(grown[0, 0].nonzero().amin(0), torch.tensor([2, 2]))
    assert grown.sum() == 11**2
    shrunk = evolve(mask, noisy + 9, noisy, MaskEvolution(2, 0.5, 1.0))
    assert shrunk.sum() == 3**2
    assert torch.isfinite(evolve(mask, zero, zero, MaskEvolution(1, 0.5, 1.0)).float()).all()


def test_it_evolves_with_the_prediction_of_the_step_and_begins_anew_at_the_next(mask_of: Any) -> None:
    evolution = MaskEvolution(1, agreement=0.5, conflict=9.0)
    mask, run = mask_of(MaskShape(evolution=evolution))
    users = mask.current.clone()
    step = steps_of(run.grid, 8, 6)[2]
    source = run.trajectory.level(0, run.backbone.device)
    predicted = noise(5)
    # Latents in which the prediction leads to the source itself: everything beside the mask agrees.
    latents = run.grid.move(source, predicted, 0, step.level)
    exact = (latents - run.grid.alphas[step.level] ** 0.5 * source) / (1 - run.grid.alphas[step.level]) ** 0.5
    mask.before_step(latents, step)
    assert mask.guide(at(step, exact, exact, latents), step) is exact
    gained = (mask.current == 1) & (users == 0)
    assert gained.any()
    assert torch.equal(mask.current[~gained], users[~gained]), "what did not move lost its soft edge"
    assert not mask.current[1].any(), "a region grew where there was none"
    mask.before_step(latents, step)
    assert torch.equal(mask.current, users)
