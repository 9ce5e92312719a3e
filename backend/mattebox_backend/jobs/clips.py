"""Source clips by content hash: opened once, hashed once, found again as long as the file does not change."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mattebox_media.clip import ClipInfo
from mattebox_media.errors import ClipNotFound
from mattebox_media.reader import ClipReader, open_clip

from mattebox_backend.errors import BadMedia, InvalidEdit, NotFound
from mattebox_backend.jobs.store import JobStore


@dataclass(frozen=True, slots=True)
class OpenedClip:
    """id: the content hash. path: of the file, or the pattern of an image sequence."""

    id: str
    path: Path
    info: ClipInfo


class Clips:
    """What is known of the sources on this disk.

    uploads: the cache that sent clips lie in, each in a folder that bears its hash. `opener` is
    `mattebox_media.open_clip`.
    """

    def __init__(
        self, store: JobStore, uploads: Path, opener: Callable[[Path], ClipReader] = open_clip
    ) -> None:
        self._store = store
        self._uploads = uploads
        self._open = opener

    def open(self, path: Path) -> OpenedClip:
        """Raises InvalidEdit for a relative path, NotFound for a missing file, MediaError for no clip."""
        if not path.is_absolute():
            raise InvalidEdit(f"The path “{path}” is relative; the backend needs an absolute one.")
        fingerprint = _fingerprint(path)
        try:
            with self._open(path) as reader:
                known = self._store.clip_at(str(path), fingerprint)
                clip, info = known or reader.content_hash(), reader.info
        except ClipNotFound as error:
            raise NotFound(str(error)) from error
        self._store.remember_clip(clip, str(path), fingerprint)
        return OpenedClip(clip, path, info)

    def find(self, clip: str) -> OpenedClip:
        """The clip with this content hash, wherever it lies.

        Raises NotFound, or BadMedia when all were changed.
        """
        sources = self._store.clip_sources(clip)
        if not sources:
            raise NotFound(f"The clip “{clip[:12]}…” is not known here; open or upload it first.")
        for path, fingerprint in sources:
            if _fingerprint(Path(path)) == fingerprint:
                if Path(path).parent.parent == self._uploads:
                    with suppress(FileNotFoundError):  # it may just have been dropped; opening it tells
                        os.utime(Path(path).parent)  # the cache drops what was used longest ago
                with self._open(Path(path)) as reader:
                    return OpenedClip(clip, Path(path), reader.info)
        raise BadMedia(
            f"The clip {sources[0][0]} was changed, moved or deleted since it was opened; open it again."
        )


def _fingerprint(path: Path) -> str:
    """Size and time of change of the file, or of every file in an image sequence's folder; "" without one."""
    files = sorted(path.parent.glob(f"*{path.suffix}")) if "%" in path.name else [path]
    digest = hashlib.sha256()
    found = False
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        found = True
        digest.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest() if found else ""
