"""The models that ship are those that the shipped configurations make."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from mattebox_backend.methods import find_method
from mattebox_backend.pocket.config import method_defaults, shipped_config
from mattebox_resources import model

MODELS = sorted(path.name for path in model("pocket-sd").parent.iterdir() if path.is_dir())
_MEBIBYTE = 1 << 20


@pytest.mark.parametrize("name", MODELS)
def test_it_was_trained_with_the_shipped_configuration(name: str) -> None:
    assert (model(name) / "training.toml").read_text(encoding="utf-8") == shipped_config(name)


@pytest.mark.parametrize("name", [name for name in MODELS if (model(name) / "mattebox.json").exists()])
def test_it_carries_the_shipped_parameters_and_the_methods_know_them(name: str) -> None:
    carried = json.loads((model(name) / "mattebox.json").read_text(encoding="utf-8"))
    assert carried["methods"] == json.loads(method_defaults(name))["methods"]
    for method, values in carried["methods"].items():
        assert asdict(find_method(method).parse({}, values)).items() >= values.items()


@pytest.mark.parametrize("name", MODELS)
def test_its_card_tells_the_figures_that_were_measured(name: str) -> None:
    figures = json.loads((model(name) / "figures.json").read_text())
    card = (model(name) / "README.md").read_text(encoding="utf-8")
    for share in (figures["colour"], figures["shape"]):
        assert f"{share:.1%}".rstrip("%") in card


def test_all_weights_together_stay_small() -> None:
    weights = [path for name in MODELS for path in Path(str(model(name))).rglob("*.safetensors")]
    assert len(weights) >= len(MODELS)
    assert sum(path.stat().st_size for path in weights) <= 40 * _MEBIBYTE
