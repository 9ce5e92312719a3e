"""Writes a trained `pocket-roi` as a model folder that names its base, which lends what was not trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from mattebox_backend.backbones.region_diffusion import WEIGHTS, folder_config
from mattebox_backend.backbones.region_network import RegionNetwork
from mattebox_backend.pocket.export import replaced_folder


def export_pocket_roi(folder: Path, network: RegionNetwork, base: str, notes: Mapping[str, str]) -> None:
    """Write `folder` in half precision, whole or not at all; one that stood there before is replaced.

    base: the name of the model that lends the rest. notes: files by name; a `mattebox.json` among them is
    told the base.
    """
    unet = UNet2DConditionModel.from_config(dict(network.unet.config))
    unet.load_state_dict(network.unet.state_dict())
    learnt = {name: value.half().contiguous() for name, value in network.learnt().items()}
    index = {"_class_name": "RegionDiffusionPipeline"}
    methods = json.loads(notes.get("mattebox.json", '{"version": 1, "methods": {}}'))
    texts = {name: text for name, text in notes.items() if name != "mattebox.json"}
    for name, content in (
        ("config.json", folder_config(network.design)),
        ("model_index.json", index),
        ("mattebox.json", {**methods, "base": base}),
    ):
        texts[name] = json.dumps(content, indent=1) + "\n"
    with replaced_folder(folder) as fresh:
        unet.to(torch.float16).save_pretrained(fresh / "unet", safe_serialization=True)
        weights = fresh / "region" / WEIGHTS
        weights.parent.mkdir()
        save_file(learnt, weights)
        for name, text in texts.items():
            (fresh / name).write_text(text, encoding="utf-8")
