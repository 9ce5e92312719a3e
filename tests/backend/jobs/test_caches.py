"""The caches' limit, and what it may not touch."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.jobs.caches import Caches


def entry(folder: Path, name: str, *, size: int, age: float) -> Path:
    """A cache entry as inversions are: a folder with a file, last used `age` seconds ago."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "latents.npy").write_bytes(bytes(size))
    moment = time.time() - age
    for part in (path / "latents.npy", path):
        os.utime(part, (moment, moment))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "inversions"


def caches(folder: Path, limit: int, pinned: frozenset[str] = frozenset()) -> Caches:
    return Caches({"inversions": folder}, limited=["inversions"], limit_bytes=limit, pinned=lambda: pinned)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_least_recently_used_entries_go_until_the_limit_holds(folder: Path) -> None:
    for name, age in (("old", 300), ("older", 400), ("new", 100)):
        entry(folder, name, size=1000, age=age)
    caches(folder, 2500).trim()
    assert names(folder) == ["new", "old"]


def test_an_entry_that_is_touched_stays_longer(folder: Path) -> None:
    for name, age in (("a", 400), ("b", 300)):
        entry(folder, name, size=1000, age=age)
    os.utime(folder / "a" / "latents.npy")
    caches(folder, 1000).trim()
    assert names(folder) == ["a"]


def test_what_is_in_use_never_goes(folder: Path) -> None:
    for name, age in (("pinned", 400), ("loose", 300), ("read", 10)):
        entry(folder, name, size=1000, age=age)
    kept = caches(folder, 0, frozenset({"pinned"}))
    with kept.reading_since(time.time() - 60):
        kept.trim()
        assert names(folder) == ["pinned", "read"]
        kept.clear()
        assert names(folder) == ["pinned", "read"]
    kept.clear()
    assert names(folder) == ["pinned"]


def test_usage_counts_bytes_and_entries(folder: Path) -> None:
    shelf = caches(folder, 10)
    assert [(use.size, use.entries) for use in shelf.usage()] == [(0, 0)]
    entry(folder, "a", size=1000, age=1)
    entry(folder, "b", size=24, age=1)
    assert [(use.name, use.size, use.entries) for use in shelf.usage()] == [("inversions", 1024, 2)]


def test_what_is_arriving_is_not_cleared(folder: Path) -> None:
    entry(folder, ".part-upload", size=1000, age=5)
    entry(folder, ".part-forgotten", size=1000, age=7200)
    caches(folder, 10).clear()
    assert names(folder) == [".part-upload"]


def test_what_is_to_be_asked_for_goes_when_it_is_named(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("inversions", "adapters")}
    for folder in folders.values():
        folder.mkdir()
        (folder / "kept.safetensors").write_bytes(b"weights")
    held = Caches(folders, limited=["inversions"], limit_bytes=1 << 20, asked_for=["adapters"])
    held.clear()
    assert [kind.entries for kind in held.usage()] == [0, 1]
    held.clear(["adapters"])
    assert [kind.entries for kind in held.usage()] == [0, 0]


def test_an_unknown_cache_is_named(folder: Path) -> None:
    with pytest.raises(InvalidEdit, match=r"no cache “takes”; the caches are inversions\."):
        caches(folder, 1).clear(["takes"])
