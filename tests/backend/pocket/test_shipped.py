"""The model that ships is the one that the shipped configuration makes."""

from __future__ import annotations

import json
from dataclasses import asdict

from mattebox_backend.methods import find_method
from mattebox_backend.pocket.config import method_defaults, shipped_config
from mattebox_resources import model

MODEL = model("pocket-sd")


def test_it_was_trained_with_the_shipped_configuration() -> None:
    assert (MODEL / "training.toml").read_text(encoding="utf-8") == shipped_config()


def test_it_carries_the_shipped_parameters_and_the_methods_know_them() -> None:
    carried = (MODEL / "mattebox.json").read_text(encoding="utf-8")
    assert json.loads(carried) == json.loads(method_defaults())
    for name, values in json.loads(carried)["methods"].items():
        assert asdict(find_method(name).parse({}, values)).items() >= values.items()


def test_its_card_tells_the_figures_that_were_measured() -> None:
    figures = json.loads((MODEL / "figures.json").read_text())
    card = (MODEL / "README.md").read_text(encoding="utf-8")
    for share in (figures["colour"], figures["shape"]):
        assert f"{share:.1%}".rstrip("%") in card
