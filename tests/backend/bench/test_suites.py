"""Suites: what they ask for can be run, orderings are judged fairly, and the page says how they fared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from mattebox_backend.bench import suite_run
from mattebox_backend.bench.claims import judge_ordering
from mattebox_backend.bench.errors import BenchError, UnusableResults
from mattebox_backend.bench.experiments import Experiment, FigureOrdering, Ordering, tasks_of
from mattebox_backend.bench.judging import Verdict
from mattebox_backend.bench.region_figures import RegionFigures
from mattebox_backend.bench.results import RESULTS_VERSION, Results
from mattebox_backend.bench.suite_page import write_page
from mattebox_backend.bench.suites import SUITES
from mattebox_backend.bench.tasks import Level, cut, load_tasks, to_give_back
from mattebox_backend.bench.told_figures import ToldFigures
from mattebox_backend.methods import find_method

EXPERIMENTS = [experiment for suite in SUITES.values() for experiment in suite]


def figures(name: str, *values: float | None) -> dict[str, Any]:
    return {"tasks": {f"task-{n}": {name: value} for n, value in enumerate(values)}}


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_every_experiment_asks_for_what_there_is(experiment: Experiment) -> None:
    method = find_method(experiment.method)
    tasks = tasks_of(experiment)
    assert len(tasks) == experiment.tasks
    for variant in experiment.variants.values():
        method.parse(variant.on(experiment.params).params)
        clips = [cut(task, variant.frames or experiment.frames) for task in tasks]
        assert all(0 in variant.shown(clip.scene.frames) for clip in clips)
        assert variant.frames is None or {clip.scene.frames for clip in clips} == {variant.frames}
    places = [place for ordering in experiment.orderings for place in ordering.places]
    assert {variant for variant, _ in places} <= set(experiment.variants)
    measured = set(experiment.figures) | {figure for _, figure in places}
    assert measured <= {*Verdict.names(), *RegionFigures.names(), *ToldFigures.names()}
    assert experiment.sensitivity or not any(figure.startswith("sensitivity") for figure in measured)


def test_names_of_experiments_are_their_own() -> None:
    assert len({experiment.name for experiment in EXPERIMENTS}) == len(EXPERIMENTS)


def test_gains_are_paired_and_point_the_wanted_way() -> None:
    # One hard task and one easy one: the means overlap, the gain of each task does not.
    results = {"a": figures("psnr", 10.0, 30.0), "b": figures("psnr", 11.0, 31.0)}
    finding = judge_ordering(Ordering("psnr", ("a", "b")), results)
    (gain,) = finding.gains
    assert gain is not None
    assert (gain.mean, gain.low, gain.high, gain.count) == (1.0, 1.0, 1.0, 2)
    assert finding.verdict == "came out"
    falling = judge_ordering(Ordering("psnr", ("a", "b"), rising=False), results)
    assert falling.verdict == "**did not come out**"


def test_a_gain_within_the_noise_is_said_to_be() -> None:
    results = {"a": figures("psnr", 1.0, 1.0, 1.0), "b": figures("psnr", 3.0, 0.0, 1.0)}
    assert judge_ordering(Ordering("psnr", ("a", "b")), results).verdict == "came out, within the noise"


def test_equal_is_enough_only_where_the_claim_says_so() -> None:
    results = {"a": figures("psnr", 1.0, 2.0), "b": figures("psnr", 1.0, 2.0)}
    assert not judge_ordering(Ordering("psnr", ("a", "b")), results).came_out
    assert judge_ordering(Ordering("psnr", ("a", "b"), at_least=True), results).clear


def test_a_little_less_is_enough_where_the_claim_says_how_much() -> None:
    ordering = Ordering("psnr", ("a", "b"), at_least=True, within=1.0)
    results = {"a": figures("psnr", 3.0, 4.0), "b": figures("psnr", 2.5, 3.0)}
    finding = judge_ordering(ordering, results)
    assert finding.verdict == "came out"
    assert ordering.words == "psnr: a ≤ b, but for 1"
    results = {"a": figures("psnr", 3.0, 4.0), "b": figures("psnr", 2.5, 1.0)}
    assert judge_ordering(ordering, results).verdict == "**did not come out**, within the noise"
    results = {"a": figures("psnr", 3.0, 4.0), "b": figures("psnr", 1.5, 2.5)}
    assert judge_ordering(ordering, results).verdict == "**did not come out**"


def test_a_task_that_either_lacks_is_left_out_and_nothing_measured_is_said() -> None:
    results = {"a": figures("psnr", 1.0, None), "b": figures("psnr", 2.0, 9.0)}
    (gain,) = judge_ordering(Ordering("psnr", ("a", "b")), results).gains
    assert gain is not None
    assert gain.count == 1
    assert judge_ordering(Ordering("warp", ("a", "b")), results).verdict == "not measured"
    assert judge_ordering(Ordering("psnr", ("a", "c")), results).verdict == "not measured"


def test_a_chain_comes_out_only_when_every_link_does() -> None:
    results = {n: figures("psnr", v, v) for n, v in (("a", 1.0), ("b", 3.0), ("c", 2.0))}
    finding = judge_ordering(Ordering("psnr", ("a", "b", "c")), results)
    assert [gain.mean if gain else None for gain in finding.gains] == [2.0, -1.0]
    assert not finding.came_out


def test_figures_of_one_variant_are_held_against_each_other() -> None:
    tasks = {"t": {"far": 1.0, "near": 3.0}, "u": {"far": 2.0, "near": 3.0}, "v": {"far": 9.0, "near": None}}
    ordering = FigureOrdering("a", ("far", "near"))
    finding = judge_ordering(ordering, {"a": {"tasks": tasks}})
    (gain,) = finding.gains
    assert gain is not None
    assert (gain.mean, gain.count) == (1.5, 2)
    assert finding.clear
    assert ordering.words == "a: far < near"
    assert not judge_ordering(replace(ordering, rising=False), {"a": {"tasks": tasks}}).came_out


def test_a_task_to_give_back_is_true_to_its_source() -> None:
    for task in load_tasks()[:8]:
        back = to_give_back(task)
        assert back.prompt == task.source_prompt
        assert np.array_equal(back.truth.frames, task.source.frames)
        assert len(back.regions) == len(task.regions)


@pytest.fixture
def small(untrained_model: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """A real experiment, cut to one task and two steps, on a model that cannot paint."""
    full = EXPERIMENTS[0]
    small = replace(
        full,
        tasks=1,
        backbone=str(untrained_model),
        params={"steps": 2, **full.params},
        variants={name: full.variants[name] for name in ("baseline", "+ cross")},
        orderings=(Ordering("accuracy", ("baseline", "+ cross"), at_least=True),),
    )
    suites = MappingProxyType({"papers": (small, replace(small, name="other", levels=(Level.CLASS,)))})
    monkeypatch.setattr(suite_run, "SUITES", suites)
    return small


def test_a_suite_runs_goes_on_and_writes_its_page(
    small: Experiment, tiny_scorer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    file, page = tmp_path / "papers.json", tmp_path / "papers.md"
    suite_run.run_suite("papers", [small.name], file, page, None, "cpu", tmp_path / "work", str(tiny_scorer))
    first = json.loads(file.read_text())["experiments"]
    assert list(first) == [small.name]
    assert set(first[small.name]["variants"]) == {"baseline", "+ cross"}
    assert f"{small.name}: accuracy: baseline ≤ + cross:" in capsys.readouterr().out
    text = page.read_text()
    assert "## Layout-guided attention" in text
    assert "| accuracy | " in text
    assert "- accuracy: baseline ≤ + cross: " in text
    assert (tmp_path / f"papers-{small.name}.png").stat().st_size > 5000
    suite_run.run_suite("papers", [], file, page, None, "cpu", tmp_path / "work", str(tiny_scorer))
    both = json.loads(file.read_text())["experiments"]
    assert list(both) == [small.name, "other"]
    assert both[small.name] == first[small.name], "what was there was run again"


def test_an_experiment_on_sensitivity_renders_under_dilated_masks_as_well(
    untrained_model: Path, tiny_scorer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    (full,) = (experiment for experiment in EXPERIMENTS if experiment.sensitivity)
    small = replace(
        full,
        tasks=1,
        backbone=str(untrained_model),
        params={"steps": 2},
        variants={"none": full.variants["none"]},
        orderings=full.orderings[:1],
        frames=3,
    )
    monkeypatch.setattr(suite_run, "SUITES", {"papers": (small,)})
    file = tmp_path / "r.json"
    suite_run.run_suite("papers", [], file, None, None, "cpu", tmp_path / "work", str(tiny_scorer))
    result = json.loads(file.read_text())["experiments"][small.name]
    (found,) = result["variants"]["none"]["tasks"].values()
    near, away = found["sensitivity_near"], found["sensitivity_away"]
    assert near > 0, "a composite under wider masks shows more of the edit"
    assert near**2 + away**2 == pytest.approx(found["sensitivity"] ** 2)
    assert 1 <= found["spread_region"] <= 4
    assert 1 <= found["spread_background"] <= 4
    assert result["run"]["sensitivity"] == 2
    assert result["run"]["frames"] == 3
    write_page(tmp_path / "p.md", "papers", [small], {small.name: result}, "x", tmp_path / "work")
    setting = (tmp_path / "p.md").read_text()
    assert "1 class tasks, cut to 3 frames, `steps = 2`, sensitivity to masks dilated by 2 pixels." in setting


def test_unknown_names_are_refused_with_the_nearest(small: Experiment, tmp_path: Path) -> None:
    arguments = (tmp_path / "r.json", None, None, "cpu", tmp_path, "pocket-score")
    with pytest.raises(BenchError, match="no suite 'paper'; there are papers"):
        suite_run.run_suite("paper", [], *arguments)
    with pytest.raises(BenchError, match="did you mean 'st-modulator-table-3'"):
        suite_run.run_suite("papers", ["st-modulator-table-2"], *arguments)


def test_results_of_one_run_and_of_a_suite_are_told_apart(tmp_path: Path) -> None:
    Results(tmp_path / "one.json").keep({"version": RESULTS_VERSION, "run": {"a": 1}, "variants": {}})
    with pytest.raises(UnusableResults, match="not those of a suite"):
        Results(tmp_path / "one.json", "x").resume({"a": 1})
    Results(tmp_path / "suite.json", "x").keep({"version": RESULTS_VERSION, "run": {"a": 1}, "variants": {}})
    with pytest.raises(UnusableResults, match="not those of one run"):
        Results(tmp_path / "suite.json").resume({"a": 1})
    with pytest.raises(UnusableResults, match="belong to another run"):
        Results(tmp_path / "suite.json", "x").resume({"a": 2})
    assert Results(tmp_path / "suite.json", "y").resume({"a": 2})["variants"] == {}


def test_an_experiment_that_was_not_run_is_said_to_be(tmp_path: Path) -> None:
    write_page(tmp_path / "new" / "p.md", "papers", EXPERIMENTS[:1], {}, "mattebox bench edits", tmp_path)
    assert "Not run." in (tmp_path / "new" / "p.md").read_text()
