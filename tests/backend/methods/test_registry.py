"""The methods' names and parameters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mattebox_backend.errors import InvalidEdit, ModelRefused, UnknownMethod
from mattebox_backend.methods import describe_methods, find_method
from mattebox_backend.methods.custom_parameters import CONTROLS


def test_all_methods_are_known_by_name_and_available() -> None:
    assert {method.name for method in describe_methods() if method.available} == {
        "st-modulator",
        "reatco",
        "videodirector",
        "mask-lora",
        "roi-aware",
        "custom",
    }


def test_a_method_says_what_it_works_from_and_on_what() -> None:
    for method in describe_methods():
        works_on_video = find_method(method.name).on_video_models
        assert works_on_video == (method.name == "mask-lora") == method.takes_references
        assert ("wan-image-to-video" in method.families) == works_on_video
        assert ("stable-diffusion" in method.families) != works_on_video


def test_an_unknown_method_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownMethod, match="did you mean 'st-modulator'"):
        find_method("st_modulator")


def test_every_parameter_says_what_it_is_and_has_a_legal_default() -> None:
    for method in describe_methods():
        assert method.parameters
        for parameter in method.parameters:
            assert parameter.description.endswith(".")
            assert find_method(method.name).parse({parameter.name: parameter.default})


def test_what_is_given_beats_the_model_and_the_model_beats_the_method() -> None:
    parse = find_method("st-modulator").parse
    assert parse({}).steps == 50
    assert parse({}, {"steps": 30}).steps == 30
    assert parse({"steps": 10}, {"steps": 30}).steps == 10


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"stepz": 5}, "no parameter 'stepz'; did you mean 'steps'"),
        ({"xyzzy": 5}, "no parameter 'xyzzy'; it takes steps,"),
        ({"steps": 0}, "'steps' is 0; give 1 to 1000"),
        ({"steps": 5.5}, "'steps' is 5.5; give a whole number"),
        ({"steps": "many"}, "'steps' is 'many'; give a whole number"),
        ({"steps": True}, "'steps' is True; give a whole number"),
        ({"guidance": float("nan")}, "'guidance' is nan; give a number"),
        ({"cross": 1}, "'cross' is 1; give true or false"),
        ({"special_tokens": "loud"}, "'special_tokens' is 'loud'; choose one of negative, neutral"),
        ({"sizes": 3}, "'sizes' is 3; choose one of 1, 2, 4, 8"),
        ({"negative_prompt": 3}, "'negative_prompt' is 3; give text"),
    ],
)
def test_a_bad_parameter_is_named_with_its_value_and_the_remedy(params: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidEdit) as caught:
        find_method("st-modulator").parse(params)
    assert words in str(caught.value)


def test_a_bad_default_of_a_model_is_blamed_on_the_model() -> None:
    method = find_method("st-modulator")
    with pytest.raises(ModelRefused, match=r"mattebox\.json.*no parameter 'stepz'"):
        method.parse({}, {"stepz": 3})
    assert method.parse({"steps": 9}, {"steps": 30, "sizes": 1}).steps == 9


def test_whole_floats_are_whole_numbers_and_integers_are_numbers() -> None:
    parsed = find_method("st-modulator").parse({"steps": 20.0, "guidance": 3})
    assert (parsed.steps, parsed.guidance) == (20, 3.0)
    assert isinstance(parsed.steps, int)


def test_listing_methods_and_validating_edits_needs_no_torch() -> None:
    code = (
        "import sys, mattebox_backend.methods, mattebox_backend.render, mattebox_backend.device; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


PAGES = {
    "st-modulator": "method-layout-attention.md",
    "reatco": "method-reattention.md",
    "videodirector": "method-videodirector.md",
    "roi-aware": "method-region-aware.md",
    "mask-lora": "method-mask-lora.md",
    "custom": "method-custom.md",
}


@pytest.mark.parametrize("method", PAGES)
def test_every_parameter_stands_in_the_methods_page_or_in_the_one_of_all(method: str) -> None:
    docs = Path(__file__).parents[3] / "docs"
    text = "".join((docs / page).read_text(encoding="utf-8") for page in (PAGES[method], "methods.md"))
    (description,) = [known for known in describe_methods() if known.name == method]
    missing = [p.name for p in description.parameters if f"`{p.name}`" not in text]
    assert missing == []


def test_every_method_of_this_version_has_a_page() -> None:
    assert set(PAGES) == {method.name for method in describe_methods() if method.available}


def test_every_control_and_its_parameters_stand_in_the_page_of_custom() -> None:
    text = (Path(__file__).parents[3] / "docs" / PAGES["custom"]).read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    assert list(rows) == list(CONTROLS)
    for kind in CONTROLS.values():
        assert all(f"`{name}`" in rows[kind.name] for name in (*kind.names, *kind.needs))
        assert {parameter.name for parameter in kind.parameters} == set(kind.names)
