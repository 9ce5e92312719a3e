"""Pivotal inversion on a tiny model: it leads back, it is kept whole, and it goes on where it was stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.attention import Reach
from mattebox_backend.diffusion.control import SOURCE_BRANCH, Step
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.inversion import invert
from mattebox_backend.diffusion.pivotal import PivotalPlan, descend, find_pivots
from mattebox_backend.diffusion.pivots import Pivots, PivotStore
from mattebox_backend.diffusion.trajectory import Trajectory, TrajectoryKey, TrajectoryStore

STEPS = 5
PLAN = PivotalPlan(inner_steps=8, rate=5e-2, per_frame=True, scale=5.0, until=math.inf)


@dataclass
class Unguided:
    """The backbone's prediction under the source's prompt, and no guidance."""

    backbone: Any
    text: torch.Tensor
    guidance: float = 0.0
    asked: list[Step] = field(default_factory=list)

    def __call__(
        self, latents: torch.Tensor, reference: torch.Tensor, step: Step
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.asked.append(step)
        noise = self.backbone.predict(
            latents.unsqueeze(0), step.timestep, self.text.unsqueeze(0), [SOURCE_BRANCH], reach=Reach.OWN
        )[0]
        return noise, self.guidance * (latents - reference)


@dataclass
class Search:
    backbone: Any
    work: Path
    trajectory: Trajectory

    def run(self, plan: PivotalPlan = PLAN, guidance: float = 0.0, **options: Any) -> Pivots:
        conditional = Unguided(self.backbone, self.backbone.embed("a red circle").states, guidance)
        return find_pivots(
            Denoiser(self.backbone, Reach.OWN),
            self.backbone.schedule.grid(STEPS),
            self.trajectory,
            self.backbone.embed("").states,
            plan,
            options.get("conditional", conditional),
            (8, 8),
            PivotStore(self.work / "cache"),
            options.get("digest", "d"),
            self.work / options.get("job", "job"),
            options.get("progress", lambda *_: None),
        )

    def error(self, pivots: Pivots) -> float:
        """Of the reconstruction, at its clean end."""
        return float(np.square(pivots.latents[0] - self.trajectory.latents[0].astype(np.float32)).mean())


@pytest.fixture
def search(backbone: Any, tmp_path: Path) -> Search:
    grid = backbone.schedule.grid(STEPS)
    key = TrajectoryKey(
        "clip", 0, 2, 64, 64, backbone.identity, "a red circle", grid.timesteps, "own", None, "cpu", "float32"
    )
    clean = 0.5 * torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    clean[1] += 0.5  # frames that differ
    trajectory = invert(
        Denoiser(backbone, Reach.OWN),
        grid,
        key,
        lambda: clean,
        TrajectoryStore(tmp_path / "inversions"),
        tmp_path / "inverting",
        lambda *_: None,
    )
    return Search(backbone, tmp_path, trajectory)


def test_embeddings_that_are_fitted_lead_back_to_the_source_and_one_per_frame_leads_closer(
    search: Search,
) -> None:
    unfitted = search.run(replace(PLAN, inner_steps=0), digest="none")
    shared = search.run(replace(PLAN, per_frame=False), digest="shared")
    each = search.run(digest="each")
    assert search.error(each) < search.error(shared) < search.error(unfitted)
    assert shared.embeddings.shape[:2] == (STEPS, 1)
    assert each.embeddings.shape[:2] == (STEPS, 2)


def test_every_level_follows_from_the_one_before_under_what_was_kept(search: Search, backbone: Any) -> None:
    pivots = search.run(guidance=0.3)
    grid = backbone.schedule.grid(STEPS)
    text = backbone.embed("a red circle").states.unsqueeze(0)
    for level in range(STEPS, 0, -1):
        here = pivots.latents_at(level, backbone.device)
        timestep = grid.timesteps[level - 1]
        with torch.no_grad():
            told = backbone.predict(here.unsqueeze(0), timestep, text, ["source"], reach=Reach.OWN)[0]
            away = backbone.predict(
                here.unsqueeze(0),
                timestep,
                pivots.embeddings_from(level, backbone.device).unsqueeze(0),
                ["null"],
                reach=Reach.OWN,
            )[0]
        guidance = 0.3 * (here - search.trajectory.level(level, backbone.device))
        torch.testing.assert_close(pivots.guidance_from(level, backbone.device), guidance)
        noise = away + PLAN.scale * (told - away)
        expected = descend(grid, here, noise, guidance, level)
        torch.testing.assert_close(
            pivots.latents_at(level - 1, backbone.device), expected, atol=1e-4, rtol=1e-4
        )


def test_a_step_with_guidance_is_that_of_the_algorithm(backbone: Any) -> None:
    """Algorithm I, lines 13 and 14, in float64."""
    grid = backbone.schedule.grid(STEPS)
    latents, noise, guidance = torch.randn(3, 2, 4, 3, 5, dtype=torch.float64)
    here, there = grid.alphas[4], grid.alphas[3]
    clean = (latents - math.sqrt(1 - here) * noise) / math.sqrt(here)
    turned = noise - math.sqrt(1 - here) * guidance
    expected = math.sqrt(there) * clean + math.sqrt(1 - there) * turned
    torch.testing.assert_close(descend(grid, latents, noise, guidance, 4), expected)


def test_a_search_goes_on_from_its_last_state(search: Search, backbone: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("mattebox_backend.diffusion.checkpoint.EVERY", 2)
    whole = search.run(job="whole", digest="whole")

    def stop(step: int, of: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search.run(job="stopped", digest="stopped", progress=stop)
    conditional = Unguided(backbone, backbone.embed("a red circle").states)
    again = search.run(job="stopped", digest="stopped", conditional=conditional)
    assert [step.index for step in conditional.asked] == [2, 3, 4]
    assert np.array_equal(again.latents, whole.latents)
    assert np.array_equal(again.embeddings, whole.embeddings)


def test_passes_of_the_backbone_are_one_per_inner_step_and_end_early(
    search: Search, backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    original = type(backbone).predict

    def counted(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        passes.append(args[3])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(type(backbone), "predict", counted)
    search.run(replace(PLAN, inner_steps=2), digest="two")
    # One under the source's prompt, two that are fitted, one under what came out.
    assert len(passes) == STEPS * 4
    passes.clear()
    monkeypatch.setattr("mattebox_backend.diffusion.pivotal._ENOUGH", 1e9)
    search.run(digest="enough")
    assert len(passes) == STEPS * 2, "a fit that is good enough was predicted once more"


def test_no_embedding_is_fitted_where_no_guidance_is_applied(search: Search, backbone: Any) -> None:
    pivots = search.run(replace(PLAN, until=-math.inf), digest="unguided")
    empty = backbone.embed("").states
    assert all(torch.equal(pivots.embeddings_from(level, backbone.device)[0], empty) for level in range(1, 6))


def test_pivots_come_back_from_the_store_and_damaged_ones_are_dropped(search: Search) -> None:
    pivots = search.run()
    store = PivotStore(search.work / "cache")
    found = store.find("d", STEPS)
    assert found is not None
    assert np.array_equal(found.latents, pivots.latents)
    assert not (search.work / "job" / "pivots.npz").exists()
    file = search.work / "cache" / "d" / "guidance.npy"
    file.write_bytes(file.read_bytes()[:60])
    assert store.find("d", STEPS) is None
    assert not file.exists()
