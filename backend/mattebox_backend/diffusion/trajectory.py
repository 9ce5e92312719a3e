"""Inversion trajectories on disk: content-addressed, memory-mapped, never half-written under their final
name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mattebox_backend.device import Device
from mattebox_backend.diffusion.entries import new_entry

_LATENTS, _META = "latents.npy", "meta.json"


@dataclass(frozen=True, slots=True)
class TrajectoryKey:
    """All that a trajectory depends on. Masks, regions and the edit's prompt are no part of it.

    windows: size and stride of the stretches of frames, None where all were inverted at once. part: (left,
    top, width, height) of the part of the picture that was inverted; None for all of it.
    """

    clip_hash: str
    start: int
    stop: int
    width: int
    height: int
    backbone: str
    prompt: str
    timesteps: tuple[int, ...]
    reach: str
    windows: tuple[int, int] | None
    device: str
    precision: str
    part: tuple[int, int, int, int] | None = None

    def digest(self) -> str:
        """SHA-256 (hex)."""
        text = json.dumps({"trajectory": 2, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """The inverted latents `z*_0 … z*_N` of a clip: (N + 1, F, C, h, w) float16, mapped from disk."""

    latents: NDArray[np.float16]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(F, C, h, w)."""
        frames, channels, height, width = self.latents.shape[1:]
        return frames, channels, height, width

    def level(self, level: int, device: Device) -> torch.Tensor:
        """The latents of one noise level: (F, C, h, w) float32."""
        return torch.from_numpy(np.array(self.latents[level])).to(device.torch).float()


class TrajectoryStore:
    """A folder with one folder per trajectory, named by its key's digest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: TrajectoryKey) -> Trajectory | None:
        """The trajectory of a key when it is here and whole; a damaged one is removed."""
        entry = self._folder / key.digest()
        if not entry.is_dir():
            return None
        try:
            latents = np.load(entry / _LATENTS, mmap_mode="r", allow_pickle=False)
            if len(latents) != len(key.timesteps) + 1 or latents.dtype != np.float16:
                raise ValueError("another shape than the key says")
            os.utime(entry / _META)  # the cache drops what was used longest ago
        except (OSError, ValueError, EOFError):
            shutil.rmtree(entry, ignore_errors=True)
            return None
        return Trajectory(latents)

    def add(self, key: TrajectoryKey, latents_file: Path) -> Trajectory:
        """Move a finished latents file into the store and give it back from there."""
        digest = key.digest()
        with new_entry(self._folder, digest) as draft:
            shutil.move(latents_file, draft / _LATENTS)
            (draft / _META).write_text(json.dumps(asdict(key), indent=1), "utf-8")
        return Trajectory(np.load(self._folder / digest / _LATENTS, mmap_mode="r", allow_pickle=False))
