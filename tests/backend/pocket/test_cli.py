from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mattebox_backend.pocket.cli import app
from mattebox_backend.pocket.model import load_pocket_sd
from mattebox_backend.pocket.sampling import sample_frames
from typer.testing import CliRunner

runner = CliRunner()


def test_one_command_trains_measures_and_writes_a_folder_that_diffusers_loads(
    tiny_toml: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    options = ["--work", str(tmp_path / "work"), "--export", str(out), "--config", str(tiny_toml)]
    result = runner.invoke(app, ["pocket-sd", *options, "--captions", "2", "--threads", "1"])
    assert result.exit_code == 0, result.output
    index = json.loads((out / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"
    assert "right colour" in (out / "README.md").read_text()
    assert "seed = 5" in (out / "training.toml").read_text()
    assert json.loads((out / "figures.json").read_text())["captions"] == 2
    assert list((tmp_path / "work").glob("samples-*.png"))
    assert not list(tmp_path.glob(".model*"))
    model = load_pocket_sd(out)
    frames = sample_frames(model, ["a red star"], seed=0, steps=2)
    assert frames.shape == (1, 32, 32, 3)
    assert frames.dtype == np.uint8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed = [", "no valid TOML"),
        ("[vae]\nstep = 4", "vae.step"),
        ("[denoiser]\nbatch = 0", "denoiser.batch"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_key(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf-8")
    options = ["--work", str(tmp_path / "work"), "--export", str(tmp_path / "out"), "--config", str(path)]
    result = runner.invoke(app, ["pocket-sd", *options])
    assert result.exit_code == 1
    assert words in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_measuring_something_that_is_no_model_is_refused(tmp_path: Path) -> None:
    result = runner.invoke(app, ["measure", str(tmp_path)])
    assert result.exit_code == 1
    assert "model_index.json" in result.output
