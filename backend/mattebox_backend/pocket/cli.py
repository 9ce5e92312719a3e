"""``mattebox-train``: makes and measures the models and the demo that ship."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Protocol

import torch
import typer
from rich.console import Console
from rich.table import Table

from mattebox_backend.pocket.checkpoint import write_atomically
from mattebox_backend.pocket.config import load_config, shipped_config
from mattebox_backend.pocket.controlnet.config import load_controlnet_config
from mattebox_backend.pocket.controlnet.run import train_pocket_controlnet
from mattebox_backend.pocket.errors import PocketError
from mattebox_backend.pocket.measure import measure
from mattebox_backend.pocket.model import load_pocket_sd
from mattebox_backend.pocket.motion.config import load_motion_config
from mattebox_backend.pocket.motion.export import load_motion
from mattebox_backend.pocket.motion.measure import measure_motion
from mattebox_backend.pocket.motion.run import load_base, train_pocket_motion
from mattebox_backend.pocket.run import train_pocket_sd

WorkFolder = Annotated[
    Path, typer.Option(help="Folder for checkpoints, progress and samples; a second run goes on from there.")
]
ExportFolder = Annotated[Path, typer.Option(help="Model folder to write when training is done.")]
BaseFolder = Annotated[
    Path | None, typer.Option(help="Folder of the pocket-sd to start from; the one that ships by default.")
]
ConfigFile = Annotated[
    Path | None, typer.Option(help="TOML with the settings; the one that ships by default.")
]
InterimFolder = Annotated[Path | None, typer.Option(help="Model folder to rewrite at each checkpoint.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="File for the figures.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]
THREADS = min(8, os.cpu_count() or 1)

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Train and measure Mattebox's pocket models."
)


@app.command("pocket-sd")
def pocket_sd(
    work: WorkFolder,
    export: ExportFolder,
    config: ConfigFile = None,
    interim: InterimFolder = None,
    captions: Annotated[int, typer.Option(min=1, help="Unseen captions to measure on.")] = 200,
    threads: Threads = THREADS,
) -> None:
    """Train pocket-sd: autoencoder, then text encoder and denoiser; measure it and write it."""
    torch.set_num_threads(threads)
    try:
        settings = load_config(config)
        text = shipped_config() if config is None else config.read_text(encoding="utf-8")
        _show(train_pocket_sd(settings, text, work, export, captions, interim))
    except PocketError as error:
        _fail(error)


@app.command("pocket-roi")
def pocket_roi(
    work: WorkFolder,
    export: ExportFolder,
    base: BaseFolder = None,
    config: ConfigFile = None,
    interim: InterimFolder = None,
    pairs: Annotated[int, typer.Option(min=1, help="Unseen pairs to measure on.")] = 100,
    threads: Threads = THREADS,
) -> None:
    """Train pocket-roi, a denoiser that is told the mask, from pocket-sd; measure it and write it."""
    from mattebox_backend.models.registry import shipped_folder
    from mattebox_backend.pocket.roi.config import load_roi_config
    from mattebox_backend.pocket.roi.run import train_pocket_roi

    torch.set_num_threads(threads)
    try:
        settings = load_roi_config(config)
        text = shipped_config("pocket-roi") if config is None else config.read_text(encoding="utf-8")
        grown_from = base or shipped_folder() / "pocket-sd"
        _show(train_pocket_roi(settings, text, grown_from, work, export, pairs, interim))
    except PocketError as error:
        _fail(error)


@app.command("pocket-controlnet")
def pocket_controlnet(
    work: WorkFolder,
    export: ExportFolder,
    base: BaseFolder = None,
    config: ConfigFile = None,
    scenes: Annotated[int, typer.Option(min=1, help="Unseen scenes to measure on.")] = 200,
    threads: Threads = THREADS,
) -> None:
    """Train pocket-controlnet, which makes pocket-sd draw along edges; measure it and write it."""
    from mattebox_backend.models.registry import shipped_folder

    torch.set_num_threads(threads)
    try:
        settings = load_controlnet_config(config)
        text = shipped_config("pocket-controlnet") if config is None else config.read_text(encoding="utf-8")
        folder = base or shipped_folder() / "pocket-sd"
        _show(train_pocket_controlnet(settings, text, folder, work, export, scenes))
    except PocketError as error:
        _fail(error)


@app.command("pocket-motion")
def pocket_motion(
    work: WorkFolder,
    export: ExportFolder,
    config: ConfigFile = None,
    interim: InterimFolder = None,
    clips: Annotated[int, typer.Option(min=1, help="Unseen clips to measure on.")] = 40,
    threads: Threads = THREADS,
) -> None:
    """Train pocket-motion: motion modules for a pocket model; measure them and write them."""
    torch.set_num_threads(threads)
    try:
        settings = load_motion_config(config)
        text = shipped_config("pocket-motion") if config is None else config.read_text(encoding="utf-8")
        _show(train_pocket_motion(settings, text, work, export, clips, interim))
    except PocketError as error:
        _fail(error)


@app.command("pocket-wan-i2v")
def pocket_wan(
    work: WorkFolder,
    export: ExportFolder,
    config: ConfigFile = None,
    interim: InterimFolder = None,
    begin: Annotated[
        Path | None, typer.Option(help="A folder of such a model to begin at, instead of random weights.")
    ] = None,
    clips: Annotated[int, typer.Option(min=1, help="Unseen scenes to measure on.")] = 30,
    threads: Threads = THREADS,
) -> None:
    """Train pocket-wan-i2v, a small image-to-video model of Wan's make; measure it and write it."""
    from mattebox_backend.pocket.wan.config import load_wan_config
    from mattebox_backend.pocket.wan.run import train_pocket_wan

    torch.set_num_threads(threads)
    try:
        settings = load_wan_config(config)
        text = shipped_config("pocket-wan-i2v") if config is None else config.read_text(encoding="utf-8")
        _show(train_pocket_wan(settings, text, work, export, clips, interim, begin))
    except PocketError as error:
        _fail(error)


@app.command("pocket-score")
def pocket_score(
    work: Annotated[
        Path,
        typer.Option(help="Folder for checkpoints and progress; a second run goes on from there."),
    ],
    export: Annotated[Path, typer.Option(help="Model folder to write when training is done.")],
    config: Annotated[
        Path | None, typer.Option(help="TOML with the settings; the one that ships by default.")
    ] = None,
    scenes: Annotated[int, typer.Option(min=1, help="Unseen scenes to measure on.")] = 400,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = min(8, os.cpu_count() or 1),
) -> None:
    """Train pocket-score, a small CLIP that judges how well words fit pictures; measure it and write it."""
    from mattebox_backend.pocket.score.config import load_score_config
    from mattebox_backend.pocket.score.run import train_pocket_score

    torch.set_num_threads(threads)
    try:
        settings = load_score_config(config)
        text = shipped_config("pocket-score") if config is None else config.read_text(encoding="utf-8")
        _show(train_pocket_score(settings, text, work, export, scenes))
    except PocketError as error:
        _fail(error)


@app.command("measure-motion")
def measure_motion_model(
    folder: Annotated[Path, typer.Argument(help="Model folder that mattebox-train pocket-motion wrote.")],
    base: Annotated[str, typer.Option(help="The model that it sets in motion.")] = "pocket-sd",
    clips: Annotated[int, typer.Option(min=1, help="Unseen clips to measure on.")] = 40,
    json_file: JsonFile = None,
    threads: Threads = THREADS,
) -> None:
    """Measure motion modules: the noise that they predict, steadiness, colour and shape."""
    torch.set_num_threads(threads)
    try:
        figures = measure_motion(load_base(base)[0], load_motion(folder), clips)
    except PocketError as error:
        _fail(error)
    _report(figures, json_file)


@app.command("measure")
def measure_model(
    folder: Annotated[Path, typer.Argument(help="Model folder in diffusers' layout.")],
    captions: Annotated[int, typer.Option(min=1, help="Unseen captions to measure on.")] = 200,
    steps: Annotated[int, typer.Option(min=1, help="Sampler steps.")] = 30,
    guidance: Annotated[float, typer.Option(help="Guidance scale.")] = 7.0,
    json_file: JsonFile = None,
    threads: Threads = THREADS,
) -> None:
    """Measure a pocket model: colour, shape, number of objects, and the autoencoder."""
    torch.set_num_threads(threads)
    try:
        figures = measure(load_pocket_sd(folder), captions, steps=steps, guidance=guidance)
    except PocketError as error:
        _fail(error)
    _report(figures, json_file)


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


class Figures(Protocol):
    """What a measurement gives."""

    def as_dict(self) -> dict[str, float]: ...


def _report(figures: Figures, json_file: Path | None) -> None:
    _show(figures)
    if json_file is not None:
        write_atomically(json_file, (json.dumps(figures.as_dict(), indent=1) + "\n").encode())


def _show(figures: Figures) -> None:
    table = Table("figure", "value")
    for name, value in figures.as_dict().items():
        table.add_row(name.replace("_", " "), f"{value:.4g}")
    Console().print(table)


def _fail(error: PocketError) -> None:
    Console(stderr=True).print(f"mattebox-train: {error}", highlight=False, markup=False)
    raise typer.Exit(1)
