"""Transactions: nothing changes outside one, and undo takes back exactly one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mattebox_desktop.model import commands
from mattebox_desktop.model.errors import NothingToUndoError, OutsideTransactionError, TransactionOpenError
from mattebox_desktop.model.history import MERGE_SECONDS, History
from mattebox_desktop.model.project import Project, Take
from mattebox_desktop.model.region import Region


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_change_outside_a_transaction_is_reverted_and_raises(project: Project) -> None:
    with pytest.raises(OutsideTransactionError, match="The prompt"):
        project.prompt = "a red disc"
    assert project.prompt == ""


def test_list_change_outside_a_transaction_is_reverted_and_raises(project: Project) -> None:
    region = Region(project.changes, (48, 64), 20)
    with pytest.raises(OutsideTransactionError):
        project.regions.append(region)
    assert list(project.regions) == []


def test_mask_key_outside_a_transaction_is_reverted_and_raises(project: Project) -> None:
    region = commands.add_region(project)
    with pytest.raises(OutsideTransactionError):
        region.masks.set_key(0, None)
    assert dict(region.masks.keys) == {}


def test_exception_takes_the_whole_transaction_back(project: Project) -> None:
    def fail_half_way() -> None:
        with project.changes.transaction("Two changes"):
            project.prompt = "a red disc"
            project.seed = 3
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail_half_way()
    assert (project.prompt, project.seed) == ("", 0)
    assert project.changes.undo_title == "Open clip"


def test_undo_and_redo_walk_through_the_steps(project: Project) -> None:
    commands.set_seed(project, 7)
    commands.set_method(project, "st-modulator")
    assert project.changes.undo() == "Choose method"
    assert (project.seed, project.method) == (7, "auto")
    project.changes.undo()
    assert project.seed == 0
    project.changes.redo()
    assert project.seed == 7
    commands.set_seed(project, 9)
    with pytest.raises(NothingToUndoError):
        project.changes.redo()


def test_typing_becomes_one_step_until_a_pause() -> None:
    clock = Clock()
    project = Project(History(clock=clock))
    for text in ("a", "a r", "a red"):
        clock.now += 0.2
        commands.set_prompt(project, text)
    clock.now += MERGE_SECONDS + 0.1
    commands.set_prompt(project, "a red disc")
    project.changes.undo()
    assert project.prompt == "a red"
    project.changes.undo()
    assert project.prompt == ""


def test_undo_during_a_stroke_is_refused(project: Project) -> None:
    commands.set_seed(project, 1)
    project.changes.begin("Brush stroke")
    with pytest.raises(TransactionOpenError, match="Brush stroke"):
        project.changes.undo()
    project.changes.commit()
    project.changes.undo()
    assert project.seed == 0


def test_a_finished_take_keeps_what_was_undone_redoable(project: Project) -> None:
    commands.set_seed(project, 5)
    project.changes.undo()
    commands.add_take(project, _take())
    assert [take.name for take in project.takes] == ["Take 1"]
    assert project.changes.dirty
    project.changes.redo()
    assert project.seed == 5


def test_undo_of_a_deleted_take_keeps_one_that_came_meanwhile(project: Project) -> None:
    first, second = _take(), _take("second")
    commands.add_take(project, first)
    commands.remove_take(project, first)
    commands.add_take(project, second)
    project.changes.undo()
    assert {take.id for take in project.takes} == {"first", "second"}


def test_dirty_follows_the_saved_state_through_undo(project: Project) -> None:
    project.changes.mark_saved()
    commands.set_seed(project, 5)
    assert project.changes.dirty
    project.changes.undo()
    assert not project.changes.dirty
    project.changes.redo()
    assert project.changes.dirty


def test_saved_step_does_not_merge_with_what_is_typed_after_it() -> None:
    project = Project()
    commands.set_prompt(project, "a")
    project.changes.mark_saved()
    commands.set_prompt(project, "ab")
    assert project.changes.dirty
    project.changes.undo()
    assert (project.prompt, project.changes.dirty) == ("a", False)


def test_history_forgets_the_oldest_steps_over_its_limit() -> None:
    project = Project(History(limit_bytes=3 * 256))
    for seed in range(1, 10):
        commands.set_prompt(project, "x" * seed)  # merges: one step
        commands.set_seed(project, seed)
    undone = 0
    while project.changes.undo_title is not None:
        project.changes.undo()
        undone += 1
    assert 1 <= undone <= 3
    assert project.changes.dirty, "the state that was saved cannot be reached any more"


def test_what_comes_during_a_stroke_waits_until_it_has_ended(project: Project) -> None:
    history, taken_back, kept = project.changes, _take(), _take("second")
    history.begin("Brush stroke")
    history.when_idle(lambda: commands.add_take(project, taken_back))
    assert len(project.takes) == 0
    history.abort()
    assert [take.id for take in project.takes] == ["first"]
    history.begin("Brush stroke that touches nothing")
    history.when_idle(lambda: commands.add_take(project, kept))
    history.commit()
    assert [take.id for take in project.takes] == ["first", "second"]
    history.undo()
    assert len(project.takes) == 2, "the takes are no step of the user's"


def test_what_is_kept_out_of_undo_cannot_join_a_step_of_the_users(project: Project) -> None:
    project.changes.begin("Brush stroke")
    with pytest.raises(TransactionOpenError, match="Brush stroke"):
        commands.add_take(project, _take())
    project.changes.abort()
    assert len(project.takes) == 0


def _take(id_: str = "first") -> Take:
    from pathlib import Path

    return Take(id_, "Take 1", Path("/takes/1.mkv"), 0, 20, 0, "a red disc", "2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("typed", "described", "read"),
    [
        (commands.set_prompt, commands.describe_prompt, lambda project: project.prompt),
        (commands.set_source_prompt, commands.describe_source_prompt, lambda project: project.source_prompt),
    ],
)
def test_a_captioners_words_are_a_step_of_their_own_however_fast_one_types(
    project: Project,
    typed: Callable[[Project, str], None],
    described: Callable[[Project, str], None],
    read: Callable[[Project], str],
) -> None:
    typed(project, "min")
    typed(project, "mine")
    described(project, "a red wall")
    described(project, "a blue wall")
    typed(project, "a blue wall!")
    seen = []
    for _ in range(4):
        project.changes.undo()
        seen.append(read(project))
    assert seen == ["a blue wall", "a red wall", "mine", ""]
