"""The benchmark of attention, on a problem small enough for a test."""

from __future__ import annotations

import pytest
from mattebox_backend.attention.benchmark import Problem, compare
from mattebox_backend.errors import OutOfMemory


def test_both_forms_agree_and_ours_takes_less_memory() -> None:
    result = compare(Problem(frames=4, side=24, heads=2, depth=20))
    assert result.largest_difference < 1e-5
    assert result.memory_ratio < 0.6
    assert result.to_json()["time_ratio"] == result.time_ratio


def test_a_problem_beyond_this_machine_is_refused_beforehand() -> None:
    with pytest.raises(OutOfMemory, match="choose fewer frames"):
        compare(Problem(frames=4096))
