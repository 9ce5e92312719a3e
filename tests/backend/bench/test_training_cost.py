"""What training an adapter costs, measured on a tiny Wan, each step in a process of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mattebox_backend.backbones.wan import Wan
from mattebox_backend.bench import cost as costs
from mattebox_backend.bench import cost_run, training_cost
from mattebox_backend.bench.cli import app
from mattebox_backend.bench.cost_run import CostRun, Part
from mattebox_backend.bench.errors import BenchError, UnusableResults
from mattebox_backend.bench.training_cost import TrainingCost, TrainingStep, measure_steps
from mattebox_backend.methods import find_method
from typer.testing import CliRunner


def measured(*steps: TrainingStep) -> list[TrainingCost]:
    return [cost for _, cost in measure_steps(steps, lambda _: None)]


def test_windows_checkpointing_and_resting_blocks_each_save_what_they_should(
    tiny_wan: Path, wan: Wan
) -> None:
    whole = TrainingStep(17, backbone=str(tiny_wan), device="cpu", rank=2, side=64)
    again, windowed = replace(whole, checkpointing=True), replace(whole, window=5)
    resting = replace(whole, swap=1.0)
    of_whole, of_again, of_windows, of_resting = measured(whole, again, windowed, resting)
    assert of_again.activation_mb < 0.8 * of_whole.activation_mb
    assert of_windows.activation_mb < 0.8 * of_whole.activation_mb
    assert of_resting.activation_mb == pytest.approx(of_whole.activation_mb, rel=0.02)
    blocks = [sum(weight.nbytes for weight in block.parameters()) / (1 << 20) for block in wan.blocks]
    assert of_whole.resident_mb == pytest.approx(sum(blocks))
    assert max(blocks) <= of_resting.resident_mb < 1.2 * max(blocks), "one at a time, aligned"
    assert of_whole.moved_mb == 0
    assert of_resting.moved_mb >= sum(blocks), "every block comes for every step"
    assert (of_resting.blocks_to_swap, of_resting.blocks) == (3, 3)
    assert min(cost.seconds for cost in (of_whole, of_again, of_windows, of_resting)) > 0


def test_a_step_that_fails_is_one_sentence() -> None:
    with pytest.raises(BenchError, match=r"A training step on 5 frames did not finish"):
        measured(TrainingStep(5, backbone="/nowhere", device="cpu"))


def test_every_step_that_a_figure_needs_is_measured() -> None:
    chosen = training_cost.steps("x", "cpu")
    over_clips = {(step.frames, step.window, step.checkpointing) for step in chosen if not step.swap}
    assert over_clips == {
        (frames, window, again) for frames in (17, 49) for window in (0, 9) for again in (False, True)
    }
    assert [step.swap for step in chosen if step.swap] == [0.25, 0.5, 0.75, 1.0]
    for trial in costs.trials_of_training("x", "cpu"):
        find_method(trial.method).parse(trial.params)
        assert trial.frames == 17


@pytest.fixture
def little(tiny_wan: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Few and small things to measure."""
    monkeypatch.setattr(training_cost, "CLIPS", (9,))
    monkeypatch.setattr(training_cost, "WINDOW", 5)
    monkeypatch.setattr(training_cost, "SWAPS", (0.0, 1.0))
    real = training_cost.steps

    def small(backbone: str, device: str) -> list[TrainingStep]:
        return [replace(step, side=64, rank=2) for step in real(backbone, device)]

    monkeypatch.setattr(training_cost, "steps", small)
    quick = {"motion_steps": 2, "appearance_steps": 1, "steps": 2, "rank": 2, "size": 64}

    def trials(backbone: str, device: str) -> list[costs.Trial]:
        return [costs.Trial("t", "mask-lora", quick, frames=5, backbone=backbone, device=device)]

    monkeypatch.setattr(costs, "trials_of_training", trials)
    return tiny_wan


def test_the_command_measures_training_alone_and_leaves_the_rest(little: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"renders": [{"kept": 1}]}))
    result = CliRunner().invoke(
        app,
        f"cost --json {file} --plot {tmp_path}/c.png --part training --video-backbone {little} "
        "--device cpu".split(),
    )
    assert result.exit_code == 0, result.output
    figures = json.loads(file.read_text())
    assert figures["renders"] == [{"kept": 1}]
    assert [(f["window"], f["checkpointing"], f["blocks_to_swap"]) for f in figures["training"]] == [
        (0, False, 0),
        (0, True, 0),
        (5, False, 0),
        (5, True, 0),
        (5, False, 3),
    ]
    (render,) = figures["training_renders"]
    assert render["seconds"]["tune"] > 0
    assert (tmp_path / "c-training.png").stat().st_size > 10_000
    assert not (tmp_path / "c.png").exists()
    assert "3 of 3" in result.output


def test_a_part_that_fails_leaves_the_figures_of_those_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, run = tmp_path / "c.json", CostRun([Part.TRAINING, Part.UPDATES], (), (), "x", "/nowhere", "cpu")
    monkeypatch.setattr(cost_run.update_cost, "updates", lambda backbone, device: [])
    with pytest.raises(BenchError, match="did not finish"):
        cost_run.run_costs(run, file, None)
    assert json.loads(file.read_text()) == {"updates": []}


@pytest.mark.parametrize(
    ("content", "words"), [("{", "cannot be read"), ('{"runs": 1}', "no figures of cost")]
)
def test_a_file_of_something_else_is_not_written_over(content: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text(content)
    with pytest.raises(UnusableResults, match=words):
        cost_run.run_costs(CostRun([Part.TRAINING], (), (), "x", "x", "cpu"), file, None)
    assert file.read_text() == content
