"""Mask-aware LoRA under the benchmark: real runs of a few steps on a tiny Wan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from mattebox_backend.bench import suite_run
from mattebox_backend.bench.cli import app
from mattebox_backend.bench.contact_sheet import write_sheet
from mattebox_backend.bench.errors import UnusableResults
from mattebox_backend.bench.experiments import Experiment, Ordering
from mattebox_backend.bench.results import Results
from mattebox_backend.bench.running import BenchRun, run_tasks
from mattebox_backend.bench.suites import SUITES
from mattebox_backend.bench.tasks import Level, load_tasks
from mattebox_backend.bench.variants import Variant
from typer.testing import CliRunner

pytestmark = pytest.mark.usefixtures("single_thread")
runner = CliRunner()
QUICK = {"motion_steps": 2, "appearance_steps": 1, "steps": 2, "rank": 2, "size": 64}


@pytest.fixture
def single_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def bench(model: Path, scorer: Path, folder: Path, *more: str) -> tuple[int, str]:
    options = ["--method", "mask-lora", "--backbone", str(model), "--scorer", str(scorer), "--device", "cpu"]
    options += ["--work", str(folder / "work"), "--frames", "5", "--json", str(folder / "r.json")]
    options += [f"--param={name}={value}" for name, value in QUICK.items()]
    result = runner.invoke(app, ["edits", *options, *more])
    return result.exit_code, " ".join(result.output.split())


def results(folder: Path) -> Any:
    return json.loads((folder / "r.json").read_text())


def test_edits_from_pictures_run_and_go_on_and_end_in_a_table(
    tiny_wan: Path, tiny_scorer: Path, tmp_path: Path
) -> None:
    code, text = bench(tiny_wan, tiny_scorer, tmp_path, "--tasks", "2")
    assert code == 0, text
    assert "clip first" in text
    first = results(tmp_path)
    assert first["run"]["frames"] == 5
    found = first["variants"]["mask-lora"]["tasks"]
    assert list(found) == ["look-00", "form-00"]
    for figures in found.values():
        assert figures["background_exact_share"] == 1
        assert figures["background_exact"] == 1, "the region that is judged is the box that is edited"
        assert figures["training_seconds"] > 0
        assert all(-1 <= figures[name] <= 1 for name in ("clip_first", "input_similarity"))
        assert 0 <= figures["end_accuracy"] <= 1
        assert figures["end_psnr"] is not None
        assert figures["kept_psnr"] is not None, "in the first frame the box too is told, and made anew"
        assert figures["spread_region"] is None
    code, text = bench(tiny_wan, tiny_scorer, tmp_path, "--tasks", "3")
    assert code == 0, text
    again = results(tmp_path)["variants"]["mask-lora"]["tasks"]
    assert list(again) == ["look-00", "form-00", "bloom-00"]
    assert {name: again[name] for name in found} == found
    code, text = bench(tiny_wan, tiny_scorer, tmp_path, "--tasks", "1", "--frames", "9")
    assert code == 2
    assert "belong to another run" in text


def test_a_late_reference_trains_on_and_is_kept_apart(
    tiny_wan: Path, tiny_scorer: Path, tmp_path: Path
) -> None:
    code, text = bench(tiny_wan, tiny_scorer, tmp_path, "--level", "bloom", "--tasks", "1")
    assert code == 0, text
    code, text = bench(
        tiny_wan, tiny_scorer, tmp_path, "--level", "bloom", "--tasks", "1", "--reference", "-1"
    )
    assert code == 2
    assert "hold 'mask-lora' under other parameters" in text
    adapters = set((tmp_path / "work" / "adapters").iterdir())
    (tmp_path / "r.json").unlink()
    code, text = bench(
        tiny_wan, tiny_scorer, tmp_path, "--level", "bloom", "--tasks", "1", "--reference", "-1"
    )
    assert code == 0, text
    assert results(tmp_path)["variants"]["mask-lora"]["references"] == [0, -1]
    assert len(set((tmp_path / "work" / "adapters").iterdir()) - adapters) == 1, "the motion was known"


def test_the_baselines_are_variants(tiny_wan: Path, tiny_scorer: Path, tmp_path: Path) -> None:
    code, text = bench(tiny_wan, tiny_scorer, tmp_path, "--tasks", "1", "--ablation", "all")
    assert code == 0, text
    found = results(tmp_path)["variants"]
    assert list(found) == ["no mask", "feature-level mask", "input-level mask"]
    assert found["feature-level mask"]["params"]["latent_blend"] is True
    clips = sorted((tmp_path / "work" / "results").rglob("look-00.mkv"))
    assert len({clip.read_bytes() for clip in clips}) == 3


def test_an_older_task_runs_with_a_picture_for_each_region(
    tiny_wan: Path, tiny_scorer: Path, tmp_path: Path
) -> None:
    code, text = bench(tiny_wan, tiny_scorer, tmp_path, "--level", "instance", "--tasks", "1")
    assert code == 0, text
    assert results(tmp_path)["variants"]["mask-lora"]["tasks"]["instance-00"]["background_exact_share"] == 1


def test_workers_find_what_one_process_finds(tiny_wan: Path, tiny_scorer: Path, tmp_path: Path) -> None:
    tasks = load_tasks(Level.FORM)[:2]
    variants = {"first": Variant(), "last": Variant(references=(0, -1))}
    found = {}
    for name, workers in (("one", 1), ("two", 2)):
        work = tmp_path / name
        run = BenchRun("mask-lora", str(tiny_wan), QUICK, "cpu", work, str(tiny_scorer), frames=5)
        file = Results(work / "r.json")
        found[name] = run_tasks(run, tasks, variants, file, lambda *_: None, workers)["variants"]
    for name in variants:
        one, two = (found[which][name]["tasks"] for which in ("one", "two"))
        assert set(one) == set(two) == {"form-00", "form-01"}
        for task in one:
            assert one[task]["psnr"] == pytest.approx(two[task]["psnr"], abs=1e-3)
            assert one[task]["clip_first"] == pytest.approx(two[task]["clip_first"], abs=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--reference", "5"], "at frame 5 and the clip has 5 frames, 0 to 4"),
        (["--param", "told=everywhere"], "choose one of outside the regions, the first frame"),
        (["--ablation", "magic"], "its variants are: no mask, feature-level mask, input-level mask"),
        (["--method", "st-modulator", "--reference", "3"], "st-modulator takes no references"),
        (["--backbone", "pocket-sd"], "pocket-sd"),
    ],
)
def test_what_cannot_be_run_is_refused_in_words(
    options: list[str], words: str, tiny_wan: Path, tiny_scorer: Path, tmp_path: Path
) -> None:
    code, text = bench(tiny_wan, tiny_scorer, tmp_path, "--tasks", "1", *options)
    assert code == 2, text
    assert words in text
    assert not (tmp_path / "r.json").exists()


def quick(experiment: Experiment, model: Path, *variants: str) -> Experiment:
    """An experiment cut to one task, few steps and five frames."""
    chosen = {name: experiment.variants[name] for name in variants or experiment.variants}
    kept = tuple(
        ordering
        for ordering in experiment.orderings
        if isinstance(ordering, Ordering) and set(ordering.variants) <= set(chosen)
    )
    return replace(
        experiment,
        tasks=1,
        backbone=str(model),
        params={**QUICK, **experiment.params},
        variants=chosen,
        orderings=kept,
        frames=5,
    )


def by_name(name: str) -> Experiment:
    (found,) = (experiment for experiment in SUITES["mask-lora"] if experiment.name == name)
    return found


@pytest.fixture
def small_suite(tiny_wan: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Experiment, ...]:
    """Three of the suite's experiments in small: one with frames to look at, one of references, one over
    lengths.
    """
    lengths = by_name("mask-lora-b4")
    shorter = {"5 frames": Variant(frames=5), "9 frames": Variant(frames=9)}
    lengths = replace(
        lengths,
        variants=shorter,
        orderings=(Ordering("clip_first", tuple(shorter), at_least=True, within=2.0),),
    )
    masks = by_name("mask-lora-figure-2")
    suite = (
        quick(masks, tiny_wan, "nothing", "background", "background, trained"),
        quick(by_name("mask-lora-figure-7"), tiny_wan, "first frame", "+ last frame"),
        quick(lengths, tiny_wan),
    )
    monkeypatch.setattr(suite_run, "SUITES", {"mask-lora": suite})
    return suite


def test_the_suite_runs_goes_on_and_writes_its_page(
    small_suite: tuple[Experiment, ...],
    tiny_scorer: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib")
    masks, references, lengths = small_suite
    file, page, work = tmp_path / "m.json", tmp_path / "papers-mask-lora.md", tmp_path / "work"
    arguments = (file, page, None, "cpu", work, str(tiny_scorer))
    suite_run.run_suite("mask-lora", [masks.name, references.name], *arguments)
    first = json.loads(file.read_text())["experiments"]
    of_masks = {name: done["tasks"]["look-00"] for name, done in first[masks.name]["variants"].items()}
    assert of_masks["nothing"]["kept_psnr"] is None
    assert of_masks["background"]["kept_psnr"] != of_masks["background, trained"]["kept_psnr"]
    assert of_masks["background"]["training_seconds"] < of_masks["background, trained"]["training_seconds"]
    late = first[references.name]["variants"]["+ last frame"]
    assert late["references"] == [0, -1]
    assert late["tasks"]["bloom-00"]["end_psnr"] is not None
    suite_run.run_suite("mask-lora", [], *arguments)
    every = json.loads(file.read_text())["experiments"]
    assert {name: every[name] for name in first} == first, "what was there was run again"
    text = page.read_text()
    assert "reconstruction of 1 look tasks, cut to 5 frames" in text
    assert "1 bloom tasks, cut to 5 frames" in text
    assert "on `" in text
    assert "1 look tasks, `motion_steps = 2`" in text, "clips of different lengths are not cut to one"
    assert "| kept psnr | – | " in text
    assert "| training seconds |" in text
    assert "- clip_first: 5 frames ≤ 9 frames, but for 2: came out" in text
    assert f"{lengths.name}: clip_first: 5 frames ≤ 9 frames, but for 2: came out" in capsys.readouterr().out
    for experiment in small_suite:
        assert (tmp_path / f"papers-mask-lora-{experiment.name}.png").stat().st_size > 5000
    assert f"![Frames of one task](papers-mask-lora-{masks.name}.jpg)" in text
    sheet = cv2.imread(str(tmp_path / f"papers-mask-lora-{masks.name}.jpg"))
    assert sheet is not None
    assert sheet.shape[0] == 4 * 115, "the source and three variants; what is given back has no other truth"
    assert (tmp_path / f"papers-mask-lora-{references.name}.jpg").exists()
    assert not (tmp_path / f"papers-mask-lora-{lengths.name}.jpg").exists()
    assert not write_sheet(masks, list(masks.variants), tmp_path / "gone", tmp_path / "none.jpg")


def test_a_variant_that_has_changed_is_not_carried_on(
    small_suite: tuple[Experiment, ...],
    tiny_scorer: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, references, _ = small_suite
    only = replace(references, variants={"first frame": Variant()}, orderings=())
    monkeypatch.setattr(suite_run, "SUITES", {"mask-lora": (only,)})
    arguments = (tmp_path / "m.json", None, None, "cpu", tmp_path / "work", str(tiny_scorer))
    suite_run.run_suite("mask-lora", [], *arguments)
    other = replace(only, variants={"first frame": Variant({"guidance": 2.0})})
    monkeypatch.setattr(suite_run, "SUITES", {"mask-lora": (other,)})
    with pytest.raises(UnusableResults, match="hold 'first frame' under other parameters"):
        suite_run.run_suite("mask-lora", [], *arguments)


def test_another_model_and_length_can_be_asked_for(
    small_suite: tuple[Experiment, ...], tiny_wan: Path, tiny_scorer: Path, tmp_path: Path
) -> None:
    asked = ["--suite", "mask-lora", "--experiment", "mask-lora-figure-7", "--frames", "9"]
    options = ["--json", str(tmp_path / "m.json"), "--work", str(tmp_path / "work"), "--device", "cpu"]
    options += ["--backbone", str(tiny_wan), "--scorer", str(tiny_scorer)]
    result = runner.invoke(app, ["edits", *asked, *options])
    assert result.exit_code == 0, result.output
    (found,) = json.loads((tmp_path / "m.json").read_text())["experiments"].values()
    assert found["run"]["frames"] == 9
    assert found["run"]["backbone"] == str(tiny_wan)
