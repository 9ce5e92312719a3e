"""The whole making of ``pocket-wan-i2v``, stage after stage; every stage goes on where an earlier run left
it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from mattebox_backend.pocket.checkpoint import write_atomically
from mattebox_backend.pocket.run import commit_of_code
from mattebox_backend.pocket.sampling import contact_sheet, write_picture
from mattebox_backend.pocket.seeds import MEASURE_SEEDS
from mattebox_backend.pocket.wan.card import wan_card
from mattebox_backend.pocket.wan.clips import clip_frames, clip_set, wan_scene
from mattebox_backend.pocket.wan.config import PocketWanConfig, load_wan_config
from mattebox_backend.pocket.wan.export import export_wan
from mattebox_backend.pocket.wan.measure import WanFigures, load_wan, measure_wan
from mattebox_backend.pocket.wan.sampling import sample_clip
from mattebox_backend.pocket.wan.sight import load_sight
from mattebox_backend.pocket.wan.text import build_tokenizer
from mattebox_backend.pocket.wan.training import TextToVideo, train_transformer
from mattebox_backend.pocket.wan.vae import train_video_vae
from mattebox_backend.world.captions import caption

_SHOWN = (3, 7, 11)
"""Unseen scenes that are generated at every checkpoint, to be looked at."""
_SHOWN_EVERY = 2


def train_pocket_wan(
    config: PocketWanConfig,
    config_text: str,
    work: Path,
    export: Path,
    clips: int,
    interim: Path | None,
    begin: Path | None = None,
) -> WanFigures:
    """Train in ``work``, measure on ``clips`` unseen scenes, and write the model folder ``export``.

    ``config_text`` is the TOML that ``config`` was read from; it travels with the weights. ``interim``, when
    given, is a model folder that is rewritten at each checkpoint, for work that cannot wait; then clips from
    unseen first frames, a row each below the true one, go to ``work`` as well. ``begin``: see
    `train_transformer`.
    """
    torch.set_flush_denormal(True)  # numbers that are all but 0 cost a CPU many times the work of others
    sight = load_sight(config.scorer)
    vae = train_video_vae(config, work)
    data = clip_set(config, vae, work)
    commit = commit_of_code()
    begun = None if begin is None else load_wan_config(begin / "training.toml")

    def write(folder: Path, models: TextToVideo, figures: WanFigures | None = None) -> None:
        notes = {"training.toml": config_text, "README.md": wan_card(config, commit, figures, begun)}
        if figures is not None:
            notes["figures.json"] = json.dumps({"commit": commit, **figures.as_dict()}, indent=1) + "\n"
        export_wan(folder, config, vae, sight, models, notes)

    def on_checkpoint(step: int, models: TextToVideo) -> None:
        if interim is not None:
            write(interim, models)
            _write_samples(work / f"samples-{step:06d}.png", config, interim)

    models = train_transformer(config, data, build_tokenizer(), work, on_checkpoint, begin)
    write(export, models)
    Console().print(f"Measuring on {clips} unseen scenes.", highlight=False)
    figures = measure_wan(load_wan(export), clips)  # what ships is in half precision
    write_atomically(work / "figures.json", (json.dumps(figures.as_dict(), indent=1) + "\n").encode())
    write(export, models, figures)
    return figures


def _write_samples(path: Path, config: PocketWanConfig, folder: Path) -> None:
    model, rows = load_wan(folder), []
    for number in _SHOWN:
        scene = wan_scene(config, MEASURE_SEEDS + number)
        clip = clip_frames(scene)
        made = sample_clip(model, clip, caption(scene, 0), seed=number, steps=12)
        rows += [clip[::_SHOWN_EVERY], made[::_SHOWN_EVERY]]
    write_picture(path, contact_sheet(np.concatenate(rows), len(rows[0])))
