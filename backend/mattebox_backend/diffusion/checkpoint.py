"""What a render leaves on disk while it runs, so that a killed backend picks it up where it stood."""

from __future__ import annotations

import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mattebox_backend.diffusion.sampler import SamplerState

EVERY = 5
"""A state is kept after so many steps: seconds lost at worst, and hardly a write's worth of time."""


@dataclass(frozen=True, slots=True)
class StateFile:
    """One file with a `SamplerState` of the run that `key` names, replaced atomically."""

    file: Path
    key: str
    steps: int

    def restore(self) -> SamplerState | None:
        """The state in the file; None where there is none, it is damaged, or it belongs to another run."""
        try:
            with np.load(self.file, allow_pickle=False) as content:
                if str(content["key"]) != self.key:
                    return None
                latents = torch.from_numpy(content["latents"])
                return SamplerState(int(content["done"]), latents, torch.from_numpy(content["generator"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def keep(self, state: SamplerState) -> None:
        """Write the state, every few steps and at the last."""
        if state.done % EVERY and state.done != self.steps:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".state-", suffix=".npz", dir=self.file.parent)
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                np.savez(
                    stream,
                    key=np.array(self.key),
                    done=np.array(state.done),
                    latents=state.latents.cpu().numpy(),
                    generator=state.generator.numpy(),
                )
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(self.file)
        finally:
            draft.unlink(missing_ok=True)
