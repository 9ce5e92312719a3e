"""What a pivotal inversion leaves: a reconstruction that ends at the source, and what led there; on disk,
content-addressed, memory-mapped, never half-written under its final name.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mattebox_backend.device import Device
from mattebox_backend.diffusion.entries import new_entry

_ARRAYS = ("latents", "embeddings", "guidance")


@dataclass(frozen=True, slots=True, eq=False)
class Pivots:
    """Per noise level of a grid with N steps, float32, mapped from disk.

    latents: (N + 1, F, C, h, w), the reconstruction from the noisiest level down to the clean one.
    embeddings: (N, f, L, C), the null-text embeddings under which the step *from* level i + 1 is taken; f is
    F, or 1 where all frames share one. guidance: (N, F, C, h, w), the decoupled guidance of that step.
    """

    latents: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    guidance: NDArray[np.float32]

    def latents_at(self, level: int, device: Device) -> torch.Tensor:
        """(F, C, h, w) of a level."""
        return torch.from_numpy(np.array(self.latents[level])).to(device.torch)

    def embeddings_from(self, level: int, device: Device) -> torch.Tensor:
        """(F, L, C) of the step from a level."""
        shared = torch.from_numpy(np.array(self.embeddings[level - 1])).to(device.torch)
        return shared.expand(self.latents.shape[1], -1, -1)

    def guidance_from(self, level: int, device: Device) -> torch.Tensor:
        """(F, C, h, w) of the step from a level."""
        return torch.from_numpy(np.array(self.guidance[level - 1])).to(device.torch)

    @classmethod
    def create(
        cls, folder: Path, steps: int, latents: tuple[int, ...], embeddings: tuple[int, ...]
    ) -> Pivots:
        """Fresh arrays in a folder, to be filled. latents: (F, C, h, w); embeddings: (f, L, C)."""
        folder.mkdir(parents=True, exist_ok=True)
        shapes = ((steps + 1, *latents), (steps, *embeddings), (steps, *latents))
        arrays = []
        for name, shape in zip(_ARRAYS, shapes, strict=True):
            file = folder / f"{name}.npy"
            arrays.append(np.lib.format.open_memmap(file, "w+", np.float32, shape))
            if hasattr(os, "posix_fallocate"):
                # A mapped file has holes: unless its blocks are set aside, a full disk kills by a signal.
                with file.open("rb+") as stream:
                    os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
        return cls(*arrays)

    @classmethod
    def open(cls, folder: Path, steps: int, *, write: bool = False) -> Pivots | None:
        """The arrays in a folder; None where they are not there, damaged, or of another number of steps."""
        try:
            arrays = [
                np.load(folder / f"{name}.npy", mmap_mode="r+" if write else "r", allow_pickle=False)
                for name in _ARRAYS
            ]
        except (OSError, ValueError, EOFError):
            return None
        if [len(array) for array in arrays] != [steps + 1, steps, steps]:
            return None
        return cls(*arrays)

    def flush(self) -> None:
        """Write what has been filled in."""
        for array in (self.latents, self.embeddings, self.guidance):
            if isinstance(array, np.memmap):
                array.flush()


@dataclass(frozen=True, slots=True)
class PivotStore:
    """A folder with one folder per pivotal inversion, named by its digest."""

    folder: Path

    def find(self, digest: str, steps: int) -> Pivots | None:
        """The pivots of a digest when they are here and whole; damaged ones are removed."""
        entry = self.folder / digest
        if not entry.is_dir():
            return None
        pivots = Pivots.open(entry, steps)
        if pivots is None:
            shutil.rmtree(entry, ignore_errors=True)
            return None
        os.utime(entry / f"{_ARRAYS[0]}.npy")  # the cache drops what was used longest ago
        return pivots

    def add(self, digest: str, finished: Path, steps: int) -> Pivots:
        """Move a folder with finished arrays into the store and give them back from there."""
        with new_entry(self.folder, digest) as draft:
            for name in _ARRAYS:
                shutil.move(finished / f"{name}.npy", draft / f"{name}.npy")
        entry = self.folder / digest
        pivots = Pivots.open(entry, steps)
        if pivots is None:
            raise OSError(f"The pivots in {entry} were lost while they were put there.")
        return pivots
