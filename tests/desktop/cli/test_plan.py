"""`mattebox plan` through a real backend, with a tiny Wan of which only the configuration is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Run = Callable[..., Any]
REFERENCE = '[[reference]]\nframe = 1\nimage = "edited.png"\nregion = "left"\n\n[params]\nsize = 64\nrank = 2'


@pytest.fixture(scope="session")
def wan_configuration(model_maker: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = model_maker.build_tiny_wan(tmp_path_factory.mktemp("models") / "tiny-wan")
    for weights in folder.glob("*/*.safetensors"):
        weights.unlink()
    return folder


@pytest.fixture
def lora_edit(work: Path, edit_file: Run, wan_configuration: Path) -> Callable[..., Path]:
    Image.new("RGB", (64, 64), (200, 10, 10)).save(work / "edited.png")

    def write(*changes: tuple[str, str], model: Path | str = wan_configuration) -> Path:
        made: Path = edit_file(
            ('prompt = "a red circle"\nsource', 'method = "mask-lora"\nprompt = "a red circle"\nsource'),
            ("[params]\nsteps = 1", REFERENCE),
            *changes,
            model=str(model),
        )
        return made

    return write


def test_settings_and_parts_are_printed(mattebox: Run, lora_edit: Run) -> None:
    outcome = mattebox(
        "plan",
        lora_edit(("rank = 2", "rank = 2\nblocks_to_swap = 2\ncheckpointing = 'off'")),
        "--card-memory",
        "8",
    )
    assert (outcome.code, outcome.err) == (0, "")
    first, *table, last = outcome.out.splitlines()
    assert first == ("tiny-wan on a card of 8 GiB, bfloat16: 5 frames of 64×64, 8,192 MB of memory.")
    rows = {line.strip()[:14].strip(): line.split() for line in table}
    assert rows["frames togethe"].count("5,") == 2
    assert rows["blocks swapped"][2:] == ["2", "of", "3", "2", "of", "3"]
    assert rows["computed again"][2] == "no"
    assert {"weights", "activations", "adapter", "optimiser", "at the peak"} <= {
        name.split("  ")[0] for name in rows
    }
    assert last.startswith("By themselves: autoencoder ")
    assert "the whole picture at once; text encoder " in last


def test_json_says_the_same_in_bytes(mattebox: Run, lora_edit: Run) -> None:
    edit = lora_edit()
    outcome = mattebox("plan", edit, "--card-memory", "0.5", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    plan = json.loads(outcome.out)
    assert (plan["device"], plan["dtype"], plan["memory"]) == ("card", "bfloat16", 1 << 29)
    assert (plan["width"], plan["height"], plan["frames"], plan["blocks"]) == (64, 64, 5, 3)
    for part in (plan["training"], plan["generation"]):
        sizes = [part[name] for name in ("weights", "activations", "adapter", "optimiser")]
        assert part["peak"] == sum(sizes) <= 0.92 * plan["memory"]
        assert min(sizes[:3]) > 0
    assert plan["training"]["optimiser"] > 0 == plan["generation"]["optimiser"]
    assert plan["autoencoder"]["tiles"] is False
    assert plan["autoencoder"]["peak"] > plan["text_encoder"]["weights"] > 0
    shown = mattebox("plan", edit, "--card-memory", "0.5").out
    assert f"{plan['training']['peak'] / (1 << 20):,.0f} MB" in shown


def test_without_a_card_it_is_the_backends_device(mattebox: Run, lora_edit: Run) -> None:
    plan = json.loads(mattebox("plan", lora_edit(), "--json").out)
    assert plan["device"] in ("cpu", "cuda:0", "mps")
    assert plan["memory"] > 0
    if plan["device"] == "cpu":
        assert plan["dtype"] == "float32"


def test_it_leaves_no_job_and_no_take(mattebox: Run, lora_edit: Run) -> None:
    before = mattebox("jobs").out
    assert mattebox("plan", lora_edit()).code == 0
    assert mattebox("jobs").out == before


def one_sentence(outcome: Any, words: str) -> None:
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome
    assert words in outcome.err


def test_what_cannot_be_planned_is_one_sentence(
    mattebox: Run, work: Path, edit_file: Run, lora_edit: Run, model: Path, tmp_path: Path
) -> None:
    one_sentence(mattebox("plan", edit_file()), "is by st-modulator; set method to mask-lora")
    one_sentence(mattebox("plan", work / "nothing.toml"), "nothing.toml")
    one_sentence(mattebox("plan", lora_edit(), "--card-memory", "0"), "--card-memory 0 is no size of a card")
    one_sentence(mattebox("plan", lora_edit(), "--card-memory", "nan"), "is no size of a card")
    one_sentence(
        mattebox("plan", lora_edit(), "--card-memory", "0.001"),
        "work at a smaller size, on fewer frames, or on a card with more memory",
    )
    one_sentence(mattebox("plan", lora_edit(model=model)), "this method runs on image-to-video models")
    one_sentence(mattebox("plan", lora_edit(model="nobody")), "The backbone “nobody” is not known")
    elsewhere = mattebox("plan", lora_edit(model="someone/a-model"))
    assert elsewhere.err.count("\n") == 1
    assert "hf download someone/a-model --include '*.json' --local-dir FOLDER" in elsewhere.err


def test_a_model_without_its_configuration_is_named(
    mattebox: Run, lora_edit: Run, wan_configuration: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(wan_configuration, tmp_path / "broken"))
    (broken / "vae" / "config.json").unlink()
    one_sentence(mattebox("plan", lora_edit(model=broken)), "broken is no complete model in diffusers layout")
