from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from mattebox_backend.bench.cli import app
from mattebox_backend.models import registry
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

runner = CliRunner()


def _run(model: Path, scorer: Path | str, folder: Path, *more: str) -> tuple[int, str]:
    options = ["--backbone", str(model), "--scorer", str(scorer), "--device", "cpu"]
    options += ["--work", str(folder / "work")]
    result = runner.invoke(app, ["edits", "--json", str(folder / "r.json"), *options, *more])
    return result.exit_code, " ".join(result.output.split())


def test_tasks_run_and_resume_and_end_in_a_table_a_file_and_a_plot(
    untrained_model: Path, tiny_scorer: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    chosen = ["--level", "instance", "--tasks", "1", "--param", "steps=2", "--ablation", "blend"]
    code, text = _run(untrained_model, tiny_scorer, tmp_path, *chosen)
    assert code == 0, text
    first = json.loads((tmp_path / "r.json").read_text())["variants"]["blend"]["tasks"]["instance-00"]
    assert 0 <= first["accuracy"] <= 1
    assert first["background_exact_share"] == first["background_exact"] == 1
    assert first["seconds"] > 0
    assert all(-1 <= first[name] <= 1 for name in ("clip_t", "clip_t_region", "clip_f", "smoothness"))
    assert first["perceptual"] > 0
    assert first["background_perceptual"] == 0
    assert first["q_edit"] is not None
    code, text = _run(
        untrained_model,
        tiny_scorer,
        tmp_path,
        *chosen,
        "--ablation",
        "cross",
        "--plot",
        str(tmp_path / "plot.png"),
    )
    assert code == 0, text
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["variants"]["blend"]["tasks"]["instance-00"] == first
    assert data["variants"]["cross"]["params"] == {"steps": 2, "cross": True, "self_modulation": False}
    assert data["summary"]["cross"]["instance"]["accuracy"]["count"] == 1
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    code, text = _run(untrained_model, tiny_scorer, tmp_path, "--tasks", "1", "--param", "steps=3")
    assert code == 2
    assert "belong to another run" in text


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As a worker has: another number of threads adds up in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_workers_find_what_one_process_finds(
    untrained_model: Path, tiny_scorer: Path, tmp_path: Path
) -> None:
    chosen = ["--tasks", "2", "--param", "steps=2", "--ablation", "blend"]
    for name, workers in (("one", "1"), ("two", "2")):
        (tmp_path / name).mkdir()
        code, text = _run(untrained_model, tiny_scorer, tmp_path / name, *chosen, "--workers", workers)
        assert code == 0, text
    one, two = (json.loads((tmp_path / name / "r.json").read_text())["variants"] for name in ("one", "two"))
    assert list(one) == list(two)
    for variant in one:
        assert set(one[variant]["tasks"]) == set(two[variant]["tasks"])
        for task, figures in one[variant]["tasks"].items():
            of_worker = two[variant]["tasks"][task]
            for measured in ("seconds", "peak_memory_mb"):
                assert figures.pop(measured) > 0
                assert of_worker.pop(measured) > 0
            numbers = {name: value for name, value in figures.items() if isinstance(value, float)}
            assert {name: of_worker.pop(name) for name in numbers} == pytest.approx(
                numbers, rel=1e-4, abs=1e-4
            )
            assert of_worker.items() <= figures.items(), "what is no number"


def test_an_interrupt_ends_all_and_is_one_sentence(
    untrained_model: Path, tiny_scorer: Path, tmp_path: Path
) -> None:
    file = tmp_path / "r.json"
    command = f"bench edits --json {file} --backbone {untrained_model} --device cpu --work {tmp_path}/work"
    # Ctrl-C reaches it even where the tests were started in the background, as a shell makes them ignore it.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    running = subprocess.Popen(
        [
            *(sys.executable, "-c", f"{listening}; from mattebox_backend.cli import main; main()"),
            *command.split(),
            *("--scorer", str(tiny_scorer), "--param", "steps=2", "--workers", "2"),
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    workers = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGINT)
    try:
        _, said = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode == 130, said
    assert said.splitlines()[-1] == f"Stopped; {file} holds what was done, and the same command goes on."
    assert "Traceback" not in said
    assert not psutil.wait_procs(workers, timeout=30)[1]
    assert json.loads(file.read_text())["variants"]["st-modulator"]["tasks"]


def test_figures_of_a_model_with_other_defaults_are_not_carried_on(
    untrained_model: Path, tiny_scorer: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(untrained_model, model)
    chosen = ["--level", "instance", "--tasks", "1", "--param", "steps=2"]
    assert _run(model, tiny_scorer, tmp_path, *chosen)[0] == 0
    defaults = {"version": 1, "methods": {"st-modulator": {"lambda_self": 0.1}}}
    (model / "mattebox.json").write_text(json.dumps(defaults))
    code, text = _run(model, tiny_scorer, tmp_path, *chosen)
    assert code == 2
    assert "belong to another run" in text


def test_figures_under_another_scorer_are_not_carried_on(
    untrained_model: Path, tiny_scorer: Path, tmp_path: Path
) -> None:
    chosen = ["--level", "instance", "--tasks", "1", "--param", "steps=1"]
    assert _run(untrained_model, tiny_scorer, tmp_path, *chosen)[0] == 0
    other = shutil.copytree(tiny_scorer, tmp_path / tiny_scorer.name)
    weights = load_file(other / "model.safetensors")
    save_file(weights | {"logit_scale": weights["logit_scale"] + 1}, other / "model.safetensors")
    code, text = _run(untrained_model, other, tmp_path, *chosen)
    assert code == 2
    assert "belong to another run" in text


def test_without_its_own_scorer_it_says_how_to_get_one(
    untrained_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "shipped_folder", lambda: tmp_path / "shipped")
    code, text = _run(untrained_model, "pocket-score", tmp_path, "--tasks", "1")
    assert code == 2
    assert "The scorer pocket-score, which judges the results, is not installed; make it with" in text
    code, text = _run(untrained_model, "my-clip", tmp_path, "--tasks", "1")
    assert code == 2
    assert "The scorer “my-clip” is not known; use one of none that is installed" in text
    assert not (tmp_path / "r.json").exists()


def test_a_file_that_cannot_be_written_is_one_sentence(
    untrained_model: Path, tiny_scorer: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    more = ["--json", str(tmp_path / "file" / "r.json"), "--param", "steps=1", "--tasks", "1"]
    code, text = _run(untrained_model, tiny_scorer, tmp_path, *more)
    assert code == 1
    assert "cannot be written or read: File exists" in text


def test_an_unknown_backbone_is_a_mistake_of_the_users(tiny_scorer: Path, tmp_path: Path) -> None:
    code, text = _run(tmp_path / "nowhere", tiny_scorer, tmp_path, "--tasks", "1")
    assert code == 2
    assert "There is no model folder at" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--param", "steps"], "NAME=VALUE"),
        (["--ablation", "magic"], "has no variant 'magic'"),
        (["--method", "mask-lora", "--tasks", "1"], "this method runs on image-to-video models"),
        (["--param", "colour=red", "--tasks", "1"], "colour"),
    ],
)
def test_what_cannot_be_run_is_refused_in_words(
    options: list[str], words: str, untrained_model: Path, tiny_scorer: Path, tmp_path: Path
) -> None:
    code, text = _run(untrained_model, tiny_scorer, tmp_path, *options)
    assert code == 2
    assert words in text
    assert not (tmp_path / "r.json").exists()
