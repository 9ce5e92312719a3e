"""The job database by itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from mattebox_backend.errors import DamagedStore, DiskFull, NotFound
from mattebox_backend.jobs.schema import MIGRATIONS
from mattebox_backend.jobs.store import JobStore
from mattebox_backend.jobs.values import Figure, Job, JobState, LogLine, Progress, StateChange


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "data" / "jobs.db"


@pytest.fixture
def store(database: Path) -> Iterator[JobStore]:
    opened = JobStore(database)
    yield opened
    opened.close()


def add(store: JobStore, name: str) -> Job:
    return store.add(
        Job(name, JobState.QUEUED, f"title of {name}", "clip", submitted=1.0), b"edit of " + name.encode()
    )


def at(fraction: float) -> Progress:
    return Progress("sample", 3, 8, None, fraction)


def test_jobs_run_in_the_order_they_came(store: JobStore) -> None:
    for name in ("a", "b", "c"):
        add(store, name)
    assert [store.take_next().id for _ in range(3)] == ["a", "b", "c"]  # type: ignore[union-attr]
    assert store.take_next() is None
    assert [job.id for job in store.jobs()] == ["c", "b", "a"]
    assert store.edit("b") == b"edit of b"


def test_events_are_numbered_without_gaps_per_job(store: JobStore) -> None:
    add(store, "a")
    add(store, "b")
    store.take_next()
    for fraction in (0.1, 0.2):
        store.progress("a", at(fraction))
        store.log("b", "a line\nof two")
    store.finish("a", take="a")
    assert [event.sequence for event in store.events("a")] == [1, 2, 3, 4, 5]
    assert [event.sequence for event in store.events("a", after=3)] == [4, 5]
    assert [event.what for event in store.events("b")][1:] == [LogLine("a line\nof two")] * 2
    last = store.events("a")[-1].what
    assert isinstance(last, StateChange)
    assert last.job == store.get("a")


def test_a_figure_is_an_event_among_the_others_and_comes_back_to_the_bit(store: JobStore) -> None:
    add(store, "a")
    store.take_next()
    told = [Figure("motion loss", 1, 2, 0.1 + 0.2), Figure("Verlust – außen", 2, 2, 5e-324)]
    store.figure("a", told[0])
    store.log("a", "a line")
    store.figure("a", told[1])
    events = store.events("a")
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    assert [event.what for event in events[2:]] == [told[0], LogLine("a line"), told[1]]
    assert store.get("a").state is JobState.RUNNING


def test_a_database_from_before_there_were_figures_takes_them(database: Path) -> None:
    database.parent.mkdir(parents=True)
    old = sqlite3.connect(database)
    for statement in MIGRATIONS[0]:
        old.execute(statement)
    old.execute("INSERT INTO jobs (id, state, title, clip, submitted) VALUES ('a', 'running', 't', 'c', 1.0)")
    old.execute("INSERT INTO events VALUES ('a', 1, 1.0, 'log', '\"a line\"')")
    old.execute("PRAGMA user_version = 1")
    old.commit()
    old.close()
    store = JobStore(database)
    store.figure("a", Figure("motion loss", 1, 2, 0.5))
    assert [(event.sequence, event.what) for event in store.events("a")] == [
        (1, LogLine("a line")),
        (2, Figure("motion loss", 1, 2, 0.5)),
    ]
    store.close()


def test_an_ended_job_stays_as_it_ended(store: JobStore) -> None:
    add(store, "a")
    store.take_next()
    store.fail("a", "It broke.", "internal")
    assert store.finish("a", take="a").state is JobState.FAILED
    assert store.request_cancel("a").state is JobState.FAILED
    assert len(store.events("a")) == 3


def test_unfinished_jobs_are_picked_up_and_ended_ones_are_not(store: JobStore, database: Path) -> None:
    for name in ("killed", "done", "waiting"):
        add(store, name)
    store.take_next()
    store.take_next()
    store.finish("done", take="done")
    again = JobStore(database)  # as after a kill: nobody closed the first
    assert [job.id for job in again.pick_up()] == ["killed"]
    assert (again.get("killed").state, again.get("killed").resumes) == (JobState.QUEUED, 1)
    assert again.get("waiting").resumes == 0
    assert again.take_next() == again.get("killed")
    again.close()


def test_a_cancel_survives_a_kill(store: JobStore, database: Path) -> None:
    add(store, "a")
    store.take_next()
    assert store.request_cancel("a").state is JobState.RUNNING
    assert store.cancel_requested("a")
    again = JobStore(database)  # as after a kill: nobody closed the first
    assert again.pick_up() == []
    assert again.get("a").state is JobState.CANCELLED
    again.close()


def test_a_job_that_kills_the_backend_again_and_again_is_given_up(store: JobStore, database: Path) -> None:
    add(store, "a")
    reached = [0.4, 0.4, 0.6, 0.6]
    for fraction in reached:
        store.take_next()
        store.progress("a", at(fraction))
        assert [job.id for job in store.pick_up()] == ["a"]
    store.take_next()
    store.progress("a", at(0.6))
    assert store.pick_up() == []
    failed = store.get("a")
    assert failed.state is JobState.FAILED
    assert "died 3 times" in failed.error
    assert "stage sample, step 3 of 8" in failed.error


def test_orderly_stops_are_no_deaths(store: JobStore) -> None:
    add(store, "a")
    for _ in range(5):
        store.take_next()
        store.requeue("a")
        assert [job.id for job in store.pick_up()] == ["a"]
    assert store.get("a").resumes == 5


def test_old_jobs_are_forgotten_with_their_events(store: JobStore) -> None:
    for name in ("a", "b", "c", "d"):
        add(store, name)
    for name in ("a", "b", "c"):
        store.cancelled(name)
    assert store.forget_old(keep=1) == ["b", "a"]
    assert [job.id for job in store.jobs()] == ["d", "c"]
    assert store.events("a") == []
    with pytest.raises(NotFound, match="no job “a”"):
        store.get("a")


def test_a_database_of_a_newer_mattebox_is_left_alone(store: JobStore, database: Path) -> None:
    add(store, "a")
    store.close()
    newer = sqlite3.connect(database)
    newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    newer.close()
    with pytest.raises(DamagedStore, match="newer Mattebox"):
        JobStore(database)
    assert [path.name for path in database.parent.glob("*damaged*")] == []


def test_a_half_written_page_is_noticed(database: Path, store: JobStore) -> None:
    for number in range(200):
        add(store, f"{number:08}" * 8)
    store.close()
    content = bytearray(database.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    database.write_bytes(content)
    fresh = JobStore(database)
    assert fresh.jobs() == []
    fresh.close()
    assert len(list(database.parent.glob("jobs.db.damaged-*"))) == 1


def test_a_full_disk_is_said_in_words(store: JobStore) -> None:
    store._connection.execute("PRAGMA max_page_count = 20")

    def fill() -> None:
        for number in range(100):
            add(store, f"{number:08}" * 500)

    with pytest.raises(DiskFull, match="the job database"):
        fill()
    assert store.get("00000000" * 500).state is JobState.QUEUED


def test_everybody_who_waits_hears_of_a_change(database: Path) -> None:
    heard: list[int] = []
    store = JobStore(database, lambda: heard.append(1))
    add(store, "a")
    store.log("a", "hello")
    assert len(heard) == 2
    store.close()


def test_looking_for_a_job_in_vain_is_no_change(database: Path) -> None:
    announced: list[str] = []
    opened = JobStore(database, lambda: announced.append("change"))
    announced.clear()
    assert opened.take_next() is None
    assert not announced  # or the worker, who waits for changes, would wake itself for ever
    add(opened, "a")
    assert announced == ["change"]
    opened.close()
