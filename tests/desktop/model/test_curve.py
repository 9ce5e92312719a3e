"""Curves of figures, as they grow and as a report keeps them."""

from __future__ import annotations

from typing import Any

import pytest
from mattebox_desktop.model.curve import Curve, curves_of, with_point


def test_a_curve_grows_step_by_step_beside_others() -> None:
    curves = with_point((), "motion loss", 1, 0.5, 3)
    curves = with_point(curves, "appearance loss", 1, 0.9, 2)
    curves = with_point(curves, "motion loss", 2, 0.25, 3)
    assert curves == (
        Curve("motion loss", ((1, 0.5), (2, 0.25)), 3),
        Curve("appearance loss", ((1, 0.9),), 2),
    )


def test_what_a_picked_up_job_tells_again_takes_the_place_of_what_it_told() -> None:
    curve = Curve("loss", ((1, 0.5), (2, 0.4), (3, 0.3), (4, 0.2)), 9)
    assert curve.with_point(3, 0.35, 9).points == ((1, 0.5), (2, 0.4), (3, 0.35))
    assert curve.with_point(1, 0.6, 9).points == ((1, 0.6),)


def test_a_curve_says_where_it_began_where_it_is_and_how_low_it_was() -> None:
    curve = Curve("motion loss", ((1, 0.31234), (60, 0.0198), (97, 0.0214)), 100)
    assert curve.words == "motion loss: first 0.312, last 0.0214, lowest 0.0198 (step 60 of 100)"


def test_a_report_gives_its_curves_back() -> None:
    report = {"curves": {"motion loss": [[1, 0.5], [2, 0.25]], "steps": [[3, 1]]}}
    assert curves_of(report) == (
        Curve("motion loss", ((1, 0.5), (2, 0.25)), 2),
        Curve("steps", ((3, 1.0),), 3),
    )


@pytest.mark.parametrize(
    "kept",
    [
        None,
        [],
        "loss",
        {"loss": []},
        {"loss": None},
        {"loss": [[1], [1, "low"], ["1", 0.5], [1, None], [1, 2, 3], 7]},
        {"loss": [[1, float("nan")], [2, float("inf")]]},
    ],
)
def test_what_is_no_curve_in_a_report_is_passed_over(kept: Any) -> None:
    assert curves_of({"curves": kept}) == ()
    assert curves_of({}) == ()
