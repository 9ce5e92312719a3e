"""The whole making of `pocket-roi`; every stage goes on where an earlier run left it."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from mattebox_backend.backbones.folder import ModelFolder
from mattebox_backend.backbones.region_network import RegionNetwork
from mattebox_backend.pocket.checkpoint import write_atomically
from mattebox_backend.pocket.config import method_defaults
from mattebox_backend.pocket.model import load_pocket_sd
from mattebox_backend.pocket.roi.card import roi_card
from mattebox_backend.pocket.roi.config import PocketRoiConfig
from mattebox_backend.pocket.roi.dataset import pair_set
from mattebox_backend.pocket.roi.export import export_pocket_roi
from mattebox_backend.pocket.roi.measure import RoiFigures, measure_roi
from mattebox_backend.pocket.roi.training import train_roi


def train_pocket_roi(
    config: PocketRoiConfig,
    config_text: str,
    base: Path,
    work: Path,
    export: Path,
    pairs: int,
    interim: Path | None,
) -> RoiFigures:
    """Train in `work` from the model folder `base`, measure on `pairs` unseen pairs, and write `export`.

    `base` has to lie beside `export` under its own name for the model to be loaded. `config_text` is the TOML
    that `config` was read from; it travels with the weights. `interim`, when given, is a model folder that is
    rewritten at each checkpoint.
    """
    console = Console()
    model = load_pocket_sd(base)
    identity = ModelFolder(base.name, base).identity(("unet", "vae", "text_encoder", "tokenizer"))
    data = pair_set(model, config.data.scenes, work)
    notes = {"training.toml": config_text, "mattebox.json": method_defaults("pocket-roi")}

    def on_checkpoint(step: int, network: RegionNetwork) -> None:
        if interim is not None:
            export_pocket_roi(
                interim, network, base.name, {**notes, "README.md": roi_card(config, base.name, None)}
            )

    network = train_roi(config, model, identity, data, work, on_checkpoint)
    console.print(f"Measuring on {pairs} unseen pairs.", highlight=False)
    figures = measure_roi(network.half().float(), model, pairs)  # what ships is in half precision
    text = json.dumps(figures.as_dict(), indent=1) + "\n"
    write_atomically(work / "figures.json", text.encode())
    card = roi_card(config, base.name, figures)
    export_pocket_roi(export, network, base.name, {**notes, "README.md": card, "figures.json": text})
    return figures
