"""``mattebox-train``: makes and measures the models and the demo that ship."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from mattebox_backend.models.registry import shipped_folder
from mattebox_backend.pocket.checkpoint import write_atomically
from mattebox_backend.pocket.config import load_config, shipped_config
from mattebox_backend.pocket.controlnet.config import load_config as load_controlnet_config
from mattebox_backend.pocket.controlnet.measure import ControlNetFigures
from mattebox_backend.pocket.controlnet.run import train_pocket_controlnet
from mattebox_backend.pocket.errors import PocketError
from mattebox_backend.pocket.measure import ModelFigures, measure
from mattebox_backend.pocket.model import load_pocket_sd
from mattebox_backend.pocket.run import train_pocket_sd

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Train and measure Mattebox's pocket models."
)


@app.command("pocket-sd")
def pocket_sd(
    work: Annotated[
        Path,
        typer.Option(help="Folder for checkpoints, progress and samples; a second run goes on from there."),
    ],
    export: Annotated[Path, typer.Option(help="Model folder to write when training is done.")],
    config: Annotated[
        Path | None, typer.Option(help="TOML with the settings; the one that ships by default.")
    ] = None,
    interim: Annotated[Path | None, typer.Option(help="Model folder to rewrite at each checkpoint.")] = None,
    captions: Annotated[int, typer.Option(min=1, help="Unseen captions to measure on.")] = 200,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = min(8, os.cpu_count() or 1),
) -> None:
    """Train pocket-sd: autoencoder, then text encoder and denoiser; measure it and write it."""
    torch.set_num_threads(threads)
    try:
        settings = load_config(config)
        text = shipped_config() if config is None else config.read_text(encoding="utf-8")
        _show(train_pocket_sd(settings, text, work, export, captions, interim))
    except PocketError as error:
        _fail(error)


@app.command("pocket-controlnet")
def pocket_controlnet(
    work: Annotated[
        Path,
        typer.Option(help="Folder for checkpoints, progress and samples; a second run goes on from there."),
    ],
    export: Annotated[Path, typer.Option(help="Model folder to write when training is done.")],
    base: Annotated[
        Path | None, typer.Option(help="Folder of the pocket-sd to train for; the one that ships by default.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML with the settings; the one that ships by default.")
    ] = None,
    scenes: Annotated[int, typer.Option(min=1, help="Unseen scenes to measure on.")] = 200,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = min(8, os.cpu_count() or 1),
) -> None:
    """Train pocket-controlnet, which makes pocket-sd draw along edges; measure it and write it."""
    torch.set_num_threads(threads)
    try:
        settings, text = load_controlnet_config(config)
        folder = base or shipped_folder() / "pocket-sd"
        _show(train_pocket_controlnet(settings, text, folder, work, export, scenes))
    except PocketError as error:
        _fail(error)


@app.command("measure")
def measure_model(
    folder: Annotated[Path, typer.Argument(help="Model folder in diffusers' layout.")],
    captions: Annotated[int, typer.Option(min=1, help="Unseen captions to measure on.")] = 200,
    steps: Annotated[int, typer.Option(min=1, help="Sampler steps.")] = 30,
    guidance: Annotated[float, typer.Option(help="Guidance scale.")] = 7.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = min(8, os.cpu_count() or 1),
) -> None:
    """Measure a pocket model: colour, shape, number of objects, and the autoencoder."""
    torch.set_num_threads(threads)
    try:
        figures = measure(load_pocket_sd(folder), captions, steps=steps, guidance=guidance)
    except PocketError as error:
        _fail(error)
    _show(figures)
    if json_file is not None:
        write_atomically(json_file, (json.dumps(figures.as_dict(), indent=1) + "\n").encode())


@app.command("demo")
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to write source clip, masks and edit file to.")],
) -> None:
    """Make the demo that ships: a clip of the world, its masks, and an edit of it."""
    from mattebox_backend.bench.demo import write_demo  # the media reader is needed for this command only

    write_demo(folder)
    typer.echo(f"Wrote {folder}.")


def main() -> None:
    """Entry point of the ``mattebox-train`` command."""
    app()


def _show(figures: ModelFigures | ControlNetFigures) -> None:
    table = Table("figure", "value")
    for name, value in figures.as_dict().items():
        table.add_row(name.replace("_", " "), f"{value:.4g}")
    Console().print(table)


def _fail(error: PocketError) -> None:
    Console(stderr=True).print(f"mattebox-train: {error}", highlight=False, markup=False)
    raise typer.Exit(1)
