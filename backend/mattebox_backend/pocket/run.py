"""The whole making of ``pocket-sd``, stage after stage; every stage goes on where an earlier run left it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from rich.console import Console

from mattebox_backend.pocket.card import model_card
from mattebox_backend.pocket.checkpoint import write_atomically
from mattebox_backend.pocket.config import PocketSdConfig, method_defaults
from mattebox_backend.pocket.dataset import latent_set
from mattebox_backend.pocket.denoiser import TextToLatent, train_denoiser
from mattebox_backend.pocket.export import export_pocket_sd
from mattebox_backend.pocket.measure import ModelFigures, measure
from mattebox_backend.pocket.model import PocketSd, load_pocket_sd
from mattebox_backend.pocket.sampling import contact_sheet, sample_frames, write_picture
from mattebox_backend.pocket.tokenizer import build_tokenizer
from mattebox_backend.pocket.vae import train_vae

SAMPLE_PROMPTS = (
    "a red star",
    "a blue circle on a gray background",
    "a red circle and a blue circle on a black background",
    "a green square left of a yellow square",
    "a purple ring, an orange cross and a white triangle on a pink background with noise",
    "a cyan square with a red dot",
    "a brown background with checks",
    "a white star above a green star on a brown background with a gradient",
)


def train_pocket_sd(
    config: PocketSdConfig, config_text: str, work: Path, export: Path, captions: int, interim: Path | None
) -> ModelFigures:
    """Train in ``work``, measure on ``captions`` unseen captions, and write the model folder ``export``.

    ``config_text`` is the TOML that ``config`` was read from; it travels with the weights. ``interim``, when
    given, is a model folder that is rewritten at each checkpoint, for work that cannot wait. Pictures of
    fixed prompts go to ``work`` at each checkpoint.
    """
    console = Console()
    tokenizer = build_tokenizer(config.text.length)
    vae = train_vae(config, work)
    data = latent_set(config, vae, tokenizer, work)
    commit, offset = commit_of_code(), config.denoiser.offset_noise
    notes = {"training.toml": config_text, "mattebox.json": method_defaults()}

    def on_checkpoint(step: int, models: TextToLatent) -> None:
        _write_samples(work / f"samples-{step:06d}.png", PocketSd(vae, tokenizer, models, offset))
        if interim is not None:
            export_pocket_sd(
                interim,
                vae,
                tokenizer,
                models,
                {**notes, "README.md": model_card(config, commit, None)},
            )

    models = train_denoiser(config, data, tokenizer, work, on_checkpoint)
    card = {"README.md": model_card(config, commit, None)}
    export_pocket_sd(export, vae, tokenizer, models, {**notes, **card})
    console.print(f"Measuring on {captions} unseen captions.", highlight=False)
    figures = measure(load_pocket_sd(export), captions)  # what ships is in half precision
    figures_json = json.dumps({"commit": commit, **figures.as_dict()}, indent=1) + "\n"
    write_atomically(work / "figures.json", figures_json.encode())
    card = {"README.md": model_card(config, commit, figures), "figures.json": figures_json}
    export_pocket_sd(export, vae, tokenizer, models, {**notes, **card})
    return figures


def _write_samples(path: Path, model: PocketSd) -> None:
    frames = sample_frames(model, SAMPLE_PROMPTS, seed=1, steps=20)
    write_picture(path, contact_sheet(frames, 4))


def commit_of_code() -> str:
    """The commit of the code that trains, or "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip()
