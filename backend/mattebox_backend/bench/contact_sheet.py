"""A picture of frames: what different variants made of one task, under its source and its true edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from mattebox_media import open_clip
from numpy.typing import NDArray

from mattebox_backend.bench.experiments import Experiment, tasks_of
from mattebox_backend.bench.running import result_clip
from mattebox_backend.bench.tasks import cut
from mattebox_backend.pocket.checkpoint import write_atomically

_COLUMNS: Final = 6
_SIDE: Final = 112
_LABEL: Final = 190
_GAP: Final = 3
_QUALITY: Final = 92


def write_sheet(experiment: Experiment, shown: Sequence[str], work: Path, picture: Path) -> bool:
    """Write a JPEG of the first of the experiment's tasks whose results all lie in `work`: a row for the
    source, one for the true edit, and one for each variant in `shown`. False where no task has them all.
    """
    for task in tasks_of(experiment):
        clips = {name: result_clip(work, experiment.name, name, task.name) for name in shown}
        if clips and all(clip.exists() for clip in clips.values()):
            task = cut(task, experiment.frames)
            rows = {"source": task.source.frames}
            if not experiment.reconstruct:
                rows["true edit"] = task.truth.frames
            sheet = contact_sheet(rows | {name: _frames(clip) for name, clip in clips.items()})
            _, encoded = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
            write_atomically(picture, encoded.tobytes())
            return True
    return False


def contact_sheet(rows: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: a row per clip (F, h, w, 3) uint8, its name before some of its frames, from the first
    to the last.
    """
    return np.concatenate([_row(name, frames) for name, frames in rows.items()])


def _row(name: str, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    chosen = np.linspace(0, len(frames) - 1, _COLUMNS).round().astype(int)
    height, width = frames.shape[1:3]
    size = (round(_SIDE * width / height), _SIDE)
    label = np.full((_SIDE, _LABEL, 3), 255, np.uint8)
    cv2.putText(label, name, (6, _SIDE // 2 + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    cells = [label]
    for frame in frames[chosen]:
        shown = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if height > _SIDE else cv2.INTER_CUBIC)
        cells += [np.full((_SIDE, _GAP, 3), 255, np.uint8), np.asarray(shown, np.uint8)]
    row = np.concatenate(cells, axis=1)
    return np.concatenate([row, np.full((_GAP, row.shape[1], 3), 255, np.uint8)])


def _frames(clip: Path) -> NDArray[np.uint8]:
    with open_clip(clip) as reader:
        return np.stack([frame[..., :3] for frame in reader.frames(0, reader.info.frame_count)])
