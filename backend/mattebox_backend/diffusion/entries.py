"""Entries of a store on disk: folders that are never half-written under their final name."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_entry(store: Path, name: str) -> Iterator[Path]:
    """Within the block, a draft folder to put files in; after it, they lie in the folder `name` of `store`.

    A name stands for its content: where another render was faster, its entry stays. Where the block raises,
    no entry is made. Raises `OSError` where the store cannot be written.
    """
    store.mkdir(parents=True, exist_ok=True)
    entry = store / name
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=store))
    try:
        yield draft
        for file in draft.iterdir():
            with file.open("rb+") as stream:
                os.fsync(stream.fileno())
        try:
            draft.replace(entry)
        except OSError:
            if not entry.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
