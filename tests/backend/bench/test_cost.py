"""What a render costs, measured on a model small enough for a test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mattebox_backend.bench import cost as costs
from mattebox_backend.bench import update_cost
from mattebox_backend.bench.cli import app
from mattebox_backend.bench.errors import BenchError
from mattebox_backend.bench.update_cost import Update, measure_updates
from mattebox_backend.methods import find_method
from typer.testing import CliRunner


@pytest.mark.parametrize("area", [0.05, 0.1, 0.25, 0.5, 1.0])
def test_a_region_has_its_share_of_the_picture(area: float) -> None:
    masks = costs.square_of(area, 2, 96, 160)
    assert masks.shape == (2, 96, 160)
    assert (masks > 0).mean() == pytest.approx(area, rel=0.05)


def test_every_trial_asks_for_parameters_that_there_are() -> None:
    for trial in (*costs.trials_over_frames("x", "cpu"), *costs.trials_over_area("x", "cpu")):
        find_method(trial.method).parse(trial.params)
    assert {trial.frames for trial in costs.trials_over_frames("x", "cpu")} == {8, 16, 32, 64}
    assert {trial.area for trial in costs.trials_over_area("x", "cpu")} == {0.05, 0.1, 0.25, 0.5, 1.0}


def test_a_trial_is_measured_in_a_process_of_its_own(untrained_model: Path) -> None:
    trial = costs.Trial(
        "t", "st-modulator", {"steps": 2}, frames=2, backbone=str(untrained_model), device="cpu"
    )
    ((_, cost),) = costs.measure_all([trial], lambda *_: None)
    assert cost.seconds["sample"] > 0
    assert cost.total == pytest.approx(sum(s for stage, s in cost.seconds.items() if stage != "load"))
    assert 50 < cost.peak_memory_mb < 5000
    assert costs.to_json([(trial, cost)])[0]["frames"] == 2
    with pytest.raises(BenchError, match="t on 2 frames did not finish"):
        costs.measure_all([replace(trial, params={"steps": 0})], lambda *_: None)


def test_the_command_writes_figures_and_a_plot(
    untrained_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(costs, "METHODS", (("st-modulator", "st-modulator", {"steps": 1}),))
    found: list[costs.Trial] = []

    def quick(trials: list[costs.Trial], on_done: object) -> list[tuple[costs.Trial, costs.Cost]]:
        found.extend(trials)
        return [(trial, costs.Cost({"sample": float(n + 1)}, 100.0 + n)) for n, trial in enumerate(trials)]

    monkeypatch.setattr(costs, "measure_all", quick)  # the measuring itself is tested above
    only = [update_cost.Update(1, device="cpu")]
    monkeypatch.setattr(update_cost, "updates", lambda *_: only)
    result = CliRunner().invoke(
        app,
        f"cost --json {tmp_path}/c.json --plot {tmp_path}/c.png --frames 1 --frames 2 --area 0.5 "
        f"--part renders --part updates --backbone {untrained_model} --device cpu".split(),
    )
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "c.json").read_text())
    renders = figures["renders"]
    assert set(figures) == {"renders", "updates"}
    assert [(f["name"], f["frames"], f["area"]) for f in renders] == [
        ("st-modulator", 1, 0.25),
        ("st-modulator", 2, 0.25),
        ("whole picture", 16, 0.5),
        ("focus", 16, 0.5),
    ]
    assert np.isfinite([f["total"] for f in renders]).all()
    ((update,),) = (figures["updates"],)
    assert (update["frames"], update["window"], update["checkpointing"]) == (1, 0, True)
    assert update["seconds"] > 0
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_checkpointing_halves_the_memory_of_an_update_and_windows_bound_it() -> None:
    chosen = [Update(16, False), Update(16), Update(8, window=8), Update(32, window=8)]
    chosen = [replace(update, device="cpu") for update in chosen]
    whole, saving, short, long = (cost.memory_mb for _, cost in measure_updates(chosen, lambda _: None))
    assert saving <= whole / 2
    assert long < 1.25 * short
    assert long < saving


def test_every_update_that_a_figure_needs_is_measured() -> None:
    chosen = update_cost.updates("x", "cpu")
    at_once = {(u.frames, u.checkpointing) for u in chosen if not u.window}
    assert at_once == {(frames, saving) for frames in (8, 16, 32) for saving in (False, True)}
    assert [u.frames for u in chosen if u.window] == [8, 16, 32, 64]


def test_an_update_that_fails_is_one_sentence() -> None:
    with pytest.raises(BenchError, match=r"An update over 2 frames did not finish"):
        measure_updates([Update(2, backbone="/nowhere", device="cpu")], lambda _: None)
