"""Mixes of controls: each acts, any mix that makes sense renders, and nonsense is refused with the reason."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from mattebox_backend.edit import ControlChoice
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.methods import find_method
from mattebox_backend.methods.custom_parameters import CONTROLS, CustomParameters, parse_controls

STRONG: dict[str, dict[str, Any]] = {
    "layout-attention": {"window": 20.0, "exponent": 0.0, "sizes": 1},
    "re-attention": {"map_reduction": 2, "window": 20.0, "refinements": 0, "step_size": 200.0},
    "pivotal-inversion": {"inner_steps": 1, "appearance_outside": 20.0},
    "self-attention-control": {"self_window": -3.0},
    "edit-mask": {"mask_reach": 1},
    "guidance-field": {"guidance_share": 0.2},
    "region-bias": {"self_inside": 3.0},
    "region-routing": {"routing": 3.0},
    "preconditioner": {"weight_inside": 1.2},
}


def chosen(*names: str) -> tuple[ControlChoice, ...]:
    """These controls and what they need, with parameters under which they show."""
    needed = [needed for name in names for needed in CONTROLS[name].needs]
    whole = dict.fromkeys([*needed, *names])
    return tuple(ControlChoice(name, STRONG.get(name, {})) for name in whole)


@pytest.fixture
def studio(studio_of: Any) -> Any:
    studio = studio_of(frames=2)
    studio.edit = replace(studio.edit, method="custom", params={"steps": 3}, controls=chosen("latent-blend"))
    return studio


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control_does_something_alone(studio: Any, name: str) -> None:
    other = "invariant-region" if name == "latent-blend" else "latent-blend"
    base = [c for c in chosen(name) if c.name != name]
    without, _ = studio.render(controls=tuple(base) or chosen(other))
    frames, report = studio.render(controls=chosen(name))
    assert report.background_exact_share == 1.0
    if name != "edit-mask":  # it steers nothing itself
        assert not np.array_equal(frames, without)


@pytest.mark.parametrize(
    "names",
    [
        ("layout-attention", "re-attention", "invariant-region"),
        ("layout-attention", "guidance-field", "latent-blend"),
        ("pivotal-inversion", "invariant-region", "region-routing"),
        ("pivotal-inversion", "cross-attention-control", "re-attention"),
        ("region-bias", "layout-attention", "preconditioner", "latent-blend"),
    ],
)
def test_controls_of_several_papers_act_together(studio: Any, names: tuple[str, ...]) -> None:
    frames, report = studio.render(controls=chosen(*names))
    assert report.background_exact_share == 1.0
    for name in names:
        kept = tuple(c for c in chosen(*names) if c.name != name)
        if all(needed in {c.name for c in kept} for c in kept for needed in CONTROLS[c.name].needs):
            without, _ = studio.render(controls=kept)
            assert not np.array_equal(frames, without), f"{name} did nothing in this company"


def test_every_pair_either_parses_or_says_why_not() -> None:
    refused = {}
    for pair in combinations(CONTROLS, 2):
        try:
            parse_controls(chosen(*pair), CustomParameters())
        except InvalidEdit as error:
            refused[pair] = str(error)
    assert set(refused) == {
        ("latent-blend", "invariant-region"),
        ("pivotal-inversion", "guidance-field"),
        ("self-attention-control", "guidance-field"),
        ("cross-attention-control", "guidance-field"),
        ("layout-attention", "self-attention-control"),
    }
    assert all("do not go together: " in words for words in refused.values())
    calm = (ControlChoice("layout-attention", {"lambda_self": 0.0}), *chosen("self-attention-control"))
    assert next(iter(parse_controls(calm, CustomParameters()))) == "layout-attention"


@pytest.mark.parametrize(
    ("controls", "params", "words"),
    [
        ((), {}, "at least one \\[\\[control\\]\\]"),
        (("layout_attention",), {}, "did you mean 'layout-attention'"),
        (("xyzzy",), {}, "there are layout-attention,"),
        (("latent-blend", "latent-blend"), {}, "given twice"),
        (("cross-attention-control",), {}, "works on that of pivotal-inversion"),
        (("latent-blend",), {"start": "noise"}, "with start = 'noise' none is made"),
        (("pivotal-inversion",), {"solver": "heun"}, "set solver to 'euler'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_queued(
    studio: Any, controls: tuple[str, ...], params: dict[str, Any], words: str
) -> None:
    edit = replace(studio.edit, params=params, controls=tuple(ControlChoice(name, {}) for name in controls))
    with pytest.raises(InvalidEdit, match=words):
        parse_controls(edit.controls, find_method("custom").parse(edit.params))
    with pytest.raises(InvalidEdit, match=words):
        studio.render(params=params, controls=edit.controls)


def test_a_control_takes_its_own_parameters_alone(studio: Any) -> None:
    with pytest.raises(InvalidEdit, match="layout-attention has no parameter 'steps'; it takes lambda_cross"):
        studio.render(controls=(ControlChoice("layout-attention", {"steps": 5}),))
    with pytest.raises(InvalidEdit, match="no parameter 'lambda_crss'; did you mean 'lambda_cross'"):
        studio.render(controls=(ControlChoice("layout-attention", {"lambda_crss": 1.0}),))
    with pytest.raises(InvalidEdit, match="give 0 to 1"):
        studio.render(controls=(ControlChoice("layout-attention", {"lambda_self": 2.0}),))


def test_a_list_of_controls_is_for_custom_alone(studio: Any) -> None:
    with pytest.raises(InvalidEdit, match="has its controls already"):
        studio.render(method="reatco")


def test_controls_are_part_of_what_an_edit_is(studio: Any) -> None:
    edit = studio.edit
    assert edit.content_hash() != replace(edit, controls=chosen("invariant-region")).content_hash()
    weaker = (ControlChoice("layout-attention", {"lambda_self": 0.1}),)
    stronger = (ControlChoice("layout-attention", {"lambda_self": 0.2}),)
    assert replace(edit, controls=weaker).content_hash() != replace(edit, controls=stronger).content_hash()


def test_a_mask_with_its_own_edge_changes_nothing_of_the_blend(studio: Any) -> None:
    plain, _ = studio.render(controls=chosen("latent-blend"))
    masked = (ControlChoice("edit-mask", {}), ControlChoice("latent-blend", {}))
    assert np.array_equal(studio.render(controls=masked)[0], plain)
    softened, _ = studio.render(controls=masked, params={"steps": 3, "boundary_smoothing": 8.0})
    assert not np.array_equal(softened, plain)


def test_a_mix_like_st_modulators_is_st_modulator(studio: Any) -> None:
    """The recipe and the list build the same controls."""
    steering = STRONG["layout-attention"]
    listed, _ = studio.render(controls=chosen("layout-attention", "latent-blend"))
    recipe, _ = studio.render(method="st-modulator", params={"steps": 3, **steering}, controls=())
    assert np.array_equal(listed, recipe)
