"""``mattebox bench``: the benchmarks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from mattebox_media import MediaError
from mattebox_proto.errors import KINDS, BadMedia
from mattebox_proto.paths import folders
from rich.console import Console
from rich.table import Table

from mattebox_backend.bench.bar import run_with_bar
from mattebox_backend.bench.cost_run import CostRun, Part, run_costs
from mattebox_backend.bench.errors import BenchError
from mattebox_backend.bench.results import Results
from mattebox_backend.bench.running import DEFAULT_SCORER, BenchRun
from mattebox_backend.bench.suite_run import run_suite
from mattebox_backend.bench.summary import plot, summarise, summary_to_json, table
from mattebox_backend.bench.tasks import PICTURED, Level, load_tasks
from mattebox_backend.bench.variants import ABLATIONS, Variant
from mattebox_backend.errors import MatteboxError
from mattebox_backend.methods import find_method
from mattebox_backend.methods.parameters import ParameterValue
from mattebox_backend.pocket.checkpoint import write_atomically

_PICTURED_MODEL, _PICTURED_FRAMES = "pocket-wan-i2v", 17
"""Where a method works from pictures: the model that ships for it, and how many frames that was made for."""
_INTERRUPTED = 130
"""The exit code of a command that Ctrl-C stopped, as a shell gives it."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Benchmarks: edits, attention, cost.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def bench() -> None:
    """Benchmarks of methods and kernels."""


@app.command("edits")
def edits(
    json_file: Annotated[
        Path, typer.Option("--json", help="File for the results; a second run with the same file goes on.")
    ],
    method: Annotated[str, typer.Option(help="Method to run.")] = "st-modulator",
    level: Annotated[Level | None, typer.Option(help="Only tasks of this level.")] = None,
    tasks: Annotated[int | None, typer.Option(min=1, help="How many tasks; all by default.")] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="A parameter of the method, as NAME=VALUE; again for more.")
    ] = None,
    ablation: Annotated[
        list[str] | None, typer.Option(help='A variant of the method, or "all"; again for more.')
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Model: an id, a folder or a hub id; by default what ships for the method or experiment."
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(min=1, help="Clips are cut to so many; tasks given by pictures by default to 17."),
    ] = None,
    reference: Annotated[
        list[int] | None,
        typer.Option(help="A frame that is a reference beside the first; −1 is the last; again for more."),
    ] = None,
    scorer: Annotated[
        str, typer.Option(help="CLIP that judges the results: an id, a folder or a hub id.")
    ] = DEFAULT_SCORER,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = "auto",
    work: Annotated[Path | None, typer.Option(help="Folder for clips, inversions and results.")] = None,
    picture: Annotated[Path | None, typer.Option("--plot", help="PNG for a plot of the figures.")] = None,
    suite: Annotated[
        str,
        typer.Option(help='Instead: all experiments of a suite ("papers", "mask-lora"); --tasks caps each.'),
    ] = "",
    page: Annotated[
        Path | None, typer.Option(help="Markdown for a suite's tables; plots go beside it.")
    ] = None,
    experiment: Annotated[
        list[str] | None, typer.Option(help="Only this experiment of the suite; again for more.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes of one thread each that share the tasks; good on a CPU.")
    ] = 1,
) -> None:
    """Run editing tasks of the synthetic world and hold the results against the truth."""
    try:
        place = work or folders().cache / "bench"
        if suite:
            given = {"backbone": backbone, "frames": frames}
            changes = {name: value for name, value in given.items() if value is not None}
            run_suite(
                suite, experiment or [], json_file, page, tasks, device, place, scorer, workers, changes
            )
            return
        pictured = find_method(method).description.takes_references
        if reference and not pictured:
            raise BenchError(f"The method {method} takes no references; leave --reference out.")
        chosen = load_tasks(*([level] if level else PICTURED if pictured else []))[:tasks]
        variants = _variants(method, ablation or [], reference or [])
        backbone = backbone or (_PICTURED_MODEL if pictured else "pocket-sd")
        if frames is None and chosen[0].level in PICTURED:
            frames = _PICTURED_FRAMES
        run = BenchRun(method, backbone, _params(param or []), device, place, scorer, frames=frames)
        data = run_with_bar("edits", run, chosen, variants, Results(json_file), workers)
        wanted = {task.name for task in chosen}
        shown = {
            **data,
            "variants": {
                name: {**done, "tasks": {k: v for k, v in done["tasks"].items() if k in wanted}}
                for name, done in data["variants"].items()
                if name in variants
            },
        }
        summary = summarise(shown)
        write_atomically(
            json_file, (json.dumps({**data, "summary": summary_to_json(summary)}, indent=1) + "\n").encode()
        )
        Console().print(table(summary, f"{method} on {backbone}, {len(chosen)} tasks: mean [95 % interval]"))
        if picture is not None:
            plot(summary, picture)
    except KeyboardInterrupt:
        typer.echo(f"Stopped; {json_file} holds what was done, and the same command goes on.", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    except (MatteboxError, MediaError, OSError) as error:
        raise _failed(error) from error


@app.command("attention")
def attention(
    frames: Annotated[int, typer.Option(min=1, help="Frames that see each other.")] = 16,
    side: Annotated[int, typer.Option(min=1, help="Side of a frame in tokens.")] = 32,
    heads: Annotated[int, typer.Option(min=1, help="Attention heads.")] = 8,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
) -> None:
    """Hold layout-guided attention against its formula taken literally: time, memory, and the difference."""
    from mattebox_backend.attention.benchmark import Problem, compare  # loads torch

    try:
        with Console(stderr=True).status("Measuring both forms, each in a process of its own…"):
            found = compare(Problem(frames=frames, side=side, heads=heads))
        if json_file is not None:
            write_atomically(json_file, (json.dumps(found.to_json(), indent=1) + "\n").encode())
    except (MatteboxError, OSError) as error:
        raise _failed(error) from error
    made = Table(
        "form", "seconds", "memory, MiB", title=f"{frames} frames of {side}×{side} tokens, {heads} heads"
    )
    made.add_row("formula", f"{found.naive.seconds:.2f}", f"{found.naive.peak_mb:.0f}")
    made.add_row("ours", f"{found.ours.seconds:.2f}", f"{found.ours.peak_mb:.0f}")
    console = Console()
    console.print(made)
    console.print(f"largest difference {found.largest_difference:.1e}", highlight=False)


@app.command("cost")
def cost(
    json_file: Annotated[Path, typer.Option("--json", help="File for the figures.")],
    part: Annotated[
        list[Part] | None,
        typer.Option(help="Only this; again for more. What the file holds of the others stays."),
    ] = None,
    frames: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Length of a clip; again for more. 8, 16, 32, 64 by default."),
    ] = None,
    area: Annotated[
        list[float] | None,
        typer.Option(min=0.001, max=1.0, help="Share of the picture; again for more. 0.05 to 1 by default."),
    ] = None,
    backbone: Annotated[str, typer.Option(help="Model: an id, a folder or a hub id.")] = "pocket-sd",
    video_backbone: Annotated[str, typer.Option(help="The model that adapters are trained on.")] = (
        _PICTURED_MODEL
    ),
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = "auto",
    picture: Annotated[
        Path | None, typer.Option("--plot", help="PNG for plots; that of training goes beside it.")
    ] = None,
) -> None:
    """Time and peak memory: of every method, over growing clips and growing regions (renders); of one update
    of re-attention, with checkpointing, without, and in windows (updates); and of one step of training an
    adapter, in the same ways and with blocks resting off the device, and of a whole edit with it (training).
    """
    try:
        run = CostRun(part or list(Part), frames or (), area or (), backbone, video_backbone, device)
        run_costs(run, json_file, picture)
    except (MatteboxError, MediaError, OSError) as error:
        raise _failed(error) from error


def _failed(error: Exception) -> typer.Exit:
    """Says what is wrong; the exit code is that of every other command."""
    if isinstance(error, OSError):
        place = error.filename or "The results"
        typer.echo(
            f"{place} cannot be written or read: {error.strerror}. Name another file with --json, --plot or "
            "--work, or make room there.",
            err=True,
        )
        return typer.Exit(1)
    typer.echo(str(error), err=True)
    kind = error.kind if isinstance(error, MatteboxError) else BadMedia.kind
    return typer.Exit(2 if KINDS[kind].usage else 1)


def _variants(method: str, names: list[str], references: list[int]) -> Mapping[str, Variant]:
    known = ABLATIONS.get(method, {})
    for name in names:
        if name not in (*known, "all"):
            choices = ", ".join(known) or "none"
            raise BenchError(f"The method {method} has no variant {name!r}; its variants are: {choices}.")
    wanted = known if "all" in names else {name: known[name] for name in names}
    return {
        name: replace(variant, references=(*variant.references, *references))
        for name, variant in (wanted or {method: Variant()}).items()
    }


def _params(items: list[str]) -> dict[str, ParameterValue]:
    params: dict[str, ParameterValue] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or not name:
            raise BenchError(f"The parameter {item!r} is not of the form NAME=VALUE, as in guidance=5.")
        params[name] = _value(text)
    return params


def _value(text: str) -> ParameterValue:
    """What a value on the command line means: true, false, a whole number, a number, else text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
