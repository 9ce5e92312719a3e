"""The last few videos that were opened: one that is opened again, unchanged, is not read through again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from mattebox_media.clip import ClipInfo
from mattebox_media.index import FrameIndex
from mattebox_media.orientation import Orientation

_LIMIT: Final = 8
_Key: TypeAlias = tuple[Path, int, int, int]


@dataclass(frozen=True, slots=True)
class KnownVideo:
    """What reading a video through has told of it."""

    index: FrameIndex
    info: ClipInfo
    orientation: Orientation


class KnownVideos:
    """Videos by path, inode, size and date; the one used longest ago is dropped first. Any thread may ask."""

    def __init__(self) -> None:
        self._videos: OrderedDict[_Key, KnownVideo] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def key(path: Path) -> _Key | None:
        """What a file is known by as it stands now; None where there is none that may be looked at."""
        try:
            status = path.stat()
        except OSError:
            return None
        return path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns

    def get(self, key: _Key | None) -> KnownVideo | None:
        if key is None:
            return None
        with self._lock:
            video = self._videos.get(key)
            if video is not None:
                self._videos.move_to_end(key)
            return video

    def put(self, key: _Key | None, video: KnownVideo) -> None:
        if key is None:
            return
        with self._lock:
            self._videos[key] = video
            self._videos.move_to_end(key)
            if len(self._videos) > _LIMIT:
                self._videos.popitem(last=False)
