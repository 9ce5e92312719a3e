"""The whole making of ``pocket-motion``, stage after stage; every stage goes on where an earlier run left
it.
"""

from __future__ import annotations

import json
from pathlib import Path

from diffusers import MotionAdapter
from rich.console import Console

from mattebox_backend.backbones.folder import ModelFolder
from mattebox_backend.errors import UnknownModel
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.pocket.checkpoint import write_atomically
from mattebox_backend.pocket.errors import PocketError
from mattebox_backend.pocket.model import PocketSd, load_pocket_sd
from mattebox_backend.pocket.motion.adapter import moving_unet
from mattebox_backend.pocket.motion.card import motion_card
from mattebox_backend.pocket.motion.clips import clip_set
from mattebox_backend.pocket.motion.config import PocketMotionConfig
from mattebox_backend.pocket.motion.export import export_motion, load_motion
from mattebox_backend.pocket.motion.measure import MotionFigures, measure_motion
from mattebox_backend.pocket.motion.sampling import sample_clips
from mattebox_backend.pocket.motion.training import train_motion
from mattebox_backend.pocket.run import commit_of_code
from mattebox_backend.pocket.sampling import contact_sheet, write_picture

SAMPLE_PROMPTS = (
    "a red star",
    "a blue circle on a gray background",
    "a green square left of a yellow square",
    "a purple ring and an orange cross on a pink background with noise",
)
_COMPONENTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_SHOWN_FRAMES = 8


def train_pocket_motion(
    config: PocketMotionConfig, config_text: str, work: Path, export: Path, clips: int, interim: Path | None
) -> MotionFigures:
    """Train in ``work``, measure on ``clips`` unseen clips, and write the model folder ``export``.

    ``config_text`` is the TOML that ``config`` was read from; it travels with the weights. ``interim``, when
    given, is a model folder that is rewritten at each checkpoint, for work that cannot wait. Clips of fixed
    prompts go to ``work`` at each checkpoint, a row each.
    """
    base, identity = load_base(config.base)
    data = clip_set(config, base, identity, work)
    commit = commit_of_code()

    def write(folder: Path, adapter: MotionAdapter, figures: MotionFigures | None = None) -> None:
        notes = {"training.toml": config_text, "README.md": motion_card(config, commit, figures)}
        if figures is not None:
            notes["figures.json"] = json.dumps({"commit": commit, **figures.as_dict()}, indent=1) + "\n"
        export_motion(folder, adapter, config.base, notes)

    def on_checkpoint(step: int, adapter: MotionAdapter) -> None:
        _write_samples(work / f"samples-{step:06d}.png", base, adapter)
        if interim is not None:
            write(interim, adapter)

    adapter = train_motion(config, base, data, work, on_checkpoint)
    write(export, adapter)
    Console().print(f"Measuring on {clips} unseen clips.", highlight=False)
    figures = measure_motion(base, load_motion(export), clips)  # what ships is in half precision
    write_atomically(work / "figures.json", (json.dumps(figures.as_dict(), indent=1) + "\n").encode())
    write(export, adapter, figures)
    return figures


def load_base(name: str) -> tuple[PocketSd, str]:
    """The image model that an edit would call ``name``, and its identity."""
    try:
        place = ModelRegistry().resolve(name)
    except UnknownModel as error:
        raise PocketError(str(error)) from error
    folder = ModelFolder.open(place)
    return load_pocket_sd(folder.path), folder.identity(_COMPONENTS)


def _write_samples(path: Path, base: PocketSd, adapter: MotionAdapter) -> None:
    frames = int(adapter.config.motion_max_seq_length)
    unet = moving_unet(base.models.unet, adapter)
    clips = sample_clips(base, unet, SAMPLE_PROMPTS, frames, seed=1, steps=20)
    shown = clips[:, :: max(1, frames // _SHOWN_FRAMES)]
    write_picture(path, contact_sheet(shown.reshape(-1, *shown.shape[2:]), shown.shape[1]))
