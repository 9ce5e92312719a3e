"""The whole making of ``pocket-controlnet``: the set, the training, the measuring, the folder that ships."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import ControlNetModel
from rich.console import Console

from mattebox_backend.backbones.folder import ModelFolder
from mattebox_backend.conditions import edges
from mattebox_backend.pocket.checkpoint import write_atomically
from mattebox_backend.pocket.config import load_config
from mattebox_backend.pocket.controlnet.card import controlnet_card
from mattebox_backend.pocket.controlnet.config import ControlNetConfig
from mattebox_backend.pocket.controlnet.dataset import edge_set
from mattebox_backend.pocket.controlnet.measure import (
    ControlNetFigures,
    measure_controlnet,
    sample_under_edges,
)
from mattebox_backend.pocket.controlnet.training import train_controlnet
from mattebox_backend.pocket.export import replaced_folder
from mattebox_backend.pocket.model import load_pocket_sd
from mattebox_backend.pocket.run import commit_of_code
from mattebox_backend.pocket.sampling import contact_sheet
from mattebox_backend.pocket.seeds import MEASURE_SEEDS
from mattebox_backend.world.captions import CaptionForm, caption
from mattebox_backend.world.render import render_frame
from mattebox_backend.world.sampling import sample_scene

_SHOWN = 8
_BASE_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


def train_pocket_controlnet(
    config: ControlNetConfig, config_text: str, base_folder: Path, work: Path, export: Path, scenes: int
) -> ControlNetFigures:
    """Train in ``work`` on the base model in ``base_folder``, measure on ``scenes`` unseen scenes, and write
    the model folder ``export``.

    ``config_text`` is the TOML that ``config`` was read from; it travels with the weights. Pictures of unseen
    scenes, their edges and what is made of them go to ``work`` at each checkpoint.
    """
    base = load_pocket_sd(base_folder)
    identity = ModelFolder.open(base_folder).identity(_BASE_PARTS)
    data = edge_set(base, load_config(base_folder / "training.toml"), config.train_frames, work)
    size = data.edges.shape[1]
    commit, notes = commit_of_code(), {"training.toml": config_text}

    def on_checkpoint(step: int, controlnet: ControlNetModel) -> None:
        scenes = [sample_scene(MEASURE_SEEDS + n, width=size, height=size) for n in range(_SHOWN)]
        frames = np.stack([render_frame(scene, 0) for scene in scenes])
        prompts = [caption(scene, 0, CaptionForm.FULL) for scene in scenes]
        found = edges(frames)
        samples = sample_under_edges(base, controlnet, prompts, found, seed=1, steps=20, guidance=5.0)
        rows = [frames, np.repeat(found[..., np.newaxis], 3, axis=-1), samples]
        sheet = cv2.cvtColor(contact_sheet(np.concatenate(rows), _SHOWN), cv2.COLOR_RGB2BGR)
        write_atomically(work / f"samples-{step:06d}.png", cv2.imencode(".png", sheet)[1].tobytes())

    controlnet = train_controlnet(config, base, identity, data, work, on_checkpoint)
    export_controlnet(export, controlnet, notes | {"README.md": controlnet_card(config, commit, None)})
    Console().print(f"Measuring on {scenes} unseen scenes.", highlight=False)
    shipped = ControlNetModel.from_pretrained(export, torch_dtype=torch.float32, local_files_only=True)
    figures = measure_controlnet(base, shipped, scenes)  # what ships is in half precision
    figures_json = json.dumps({"commit": commit, **figures.as_dict()}, indent=1) + "\n"
    write_atomically(work / "figures.json", figures_json.encode())
    card = {"README.md": controlnet_card(config, commit, figures), "figures.json": figures_json}
    export_controlnet(export, controlnet, notes | card)
    return figures


def export_controlnet(folder: Path, controlnet: ControlNetModel, notes: Mapping[str, str]) -> None:
    """Write ``folder`` in diffusers' layout, float16 safetensors, with the files of ``notes`` (name to text).

    The folder appears whole or not at all; one that stood there before is replaced.
    """
    with replaced_folder(folder) as fresh:
        copy.deepcopy(controlnet).to(torch.float16).save_pretrained(fresh, safe_serialization=True)
        for name, text in notes.items():
            (fresh / name).write_text(text, encoding="utf-8")
