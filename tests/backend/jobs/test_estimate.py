"""Fractions and remaining times."""

from __future__ import annotations

import pytest
from mattebox_backend.jobs.estimate import DEFAULT_SECONDS, Estimate


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_remaining_time_of_a_steady_job_is_right_from_early_on() -> None:
    clock = Clock()
    estimate = Estimate({"invert": 10.0, "sample": 30.0}, clock=clock)
    estimate.at("invert", 0, 10)
    for stage, steps, seconds in (("invert", 10, 2.0), ("sample", 10, 6.0)):
        for step in range(1, steps + 1):
            clock.now += seconds
            progress = estimate.at(stage, step, steps)
            assert progress.eta_seconds == pytest.approx(180.0 - clock.now, abs=1e-6)
    assert progress.fraction == pytest.approx(1.0)
    assert estimate.seconds == pytest.approx({"invert": 20.0, "sample": 60.0})


def test_nothing_is_promised_before_anything_is_measured() -> None:
    estimate = Estimate({}, clock=Clock())
    assert estimate.at("load", 0, 1).eta_seconds is None
    assert estimate.at("sample", 0, 50).eta_seconds is None or estimate.seconds["sample"] >= 0


def test_a_cached_inversion_counts_as_done() -> None:
    clock = Clock()
    estimate = Estimate({}, clock=clock)
    estimate.at("load", 1, 1)
    before = estimate.at("sample", 0, 50).fraction
    total = sum(DEFAULT_SECONDS.values())
    assert before == pytest.approx(
        sum(DEFAULT_SECONDS[s] for s in ("load", "masks", "decode", "encode", "invert")) / total
    )


def test_the_fraction_never_falls_not_even_after_a_restart() -> None:
    estimate = Estimate({}, reached=0.7, clock=Clock())
    fractions = [estimate.at(*at).fraction for at in (("load", 1, 1), ("sample", 3, 50), ("decode", 1, 9))]
    assert fractions == [0.7, 0.7, 0.7]
    assert estimate.at("composite", 9, 9).fraction > 0.9


def test_stages_that_nobody_announced_and_stages_without_steps_do_no_harm() -> None:
    estimate = Estimate({"sample": 1.0}, clock=Clock())
    assert estimate.at("dream", 0, 0).fraction == 0.0
    assert estimate.at("sample", 9, 3).fraction == 1.0
