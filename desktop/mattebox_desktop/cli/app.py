"""The commands and their options; what they do stands in the modules beside this one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mattebox_desktop.cli.failures import guarded

app = typer.Typer(
    name="mattebox",
    help="Edits regions of a video: mask them, say what should be there, render only that. "
    "Without a command it opens the desktop; `mattebox FILE` opens a video or a project in it.",
    epilog="Exit codes: 0 done, 1 failed, 2 something in the command or its files is wrong, 130 Ctrl-C.",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# `mattebox jobs --backend X cancel` means the same as `mattebox jobs cancel --backend X`: a group leaves the
# address that it was given in `context.obj` for its commands.

# All that follows is another command's: it is handed on as it is, `--help` too.
_HANDED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

Backend = Annotated[
    str,
    typer.Option(
        "--backend",
        metavar="ADDRESS",
        help="A backend to use instead of this machine's: HOST:PORT (TLS) or unix:///path/of.sock. "
        "MATTEBOX_TOKEN holds its token, MATTEBOX_TLS_ROOTS names a PEM file of certificates to trust.",
    ),
]
Device = Annotated[
    str,
    typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps: for the backend when it is started."),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and leaves with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    app(args=with_default_command(given), prog_name="mattebox")


def with_default_command(arguments: list[str]) -> list[str]:
    """`mattebox` and `mattebox FILE` mean `mattebox open`; a file named serve is ./serve."""
    if arguments and (arguments[0].startswith("-") or arguments[0] in command_names()):
        return arguments
    return ["open", *arguments]


def command_names() -> list[str]:
    commands = [command.name for command in app.registered_commands if command.name is not None]
    return commands + [group.name for group in app.registered_groups if group.name is not None]


def _print_version(wanted: bool) -> None:
    if wanted:
        from mattebox_proto.version import version

        typer.echo(f"mattebox {version()}")
        raise typer.Exit


@app.callback()
def _mattebox(
    version: Annotated[
        bool,
        typer.Option("--version", help="Say the version.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    pass


@app.command("open")
@guarded
def _open(
    file: Annotated[Path | None, typer.Argument(help="A video, a picture sequence or a project.")] = None,
) -> None:
    """Opens the desktop, with a video or a project."""
    from mattebox_desktop.cli.desktop import open_desktop

    raise typer.Exit(open_desktop(file, command_names()))


@app.command("edit")
@guarded
def _edit(
    edit_file: Annotated[Path, typer.Argument(metavar="EDIT.toml", help="What to make: docs/edit-file.md.")],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="The ending decides: .mp4 H.264, .mov ProRes, .mkv lossless FFV1, %04d.png pictures.",
        ),
    ],
    report: Annotated[Path | None, typer.Option("--json", help="Where to write the report, as JSON.")] = None,
    inspect: Annotated[
        bool, typer.Option("--inspect", help="Keep what attention and controls did: `mattebox inspect`.")
    ] = False,
    backend: Backend = "",
    device: Device = "",
) -> None:
    """Renders an edit file into a video."""
    from mattebox_desktop.cli.edit import run_edit

    run_edit(edit_file, output, report, backend, device, inspect=inspect)


@app.command("plan")
@guarded
def _plan(
    edit_file: Annotated[Path, typer.Argument(metavar="EDIT.toml", help="An edit by mask-lora.")],
    card_memory: Annotated[
        float | None,
        typer.Option(
            metavar="GIB",
            help="Of a CUDA card to plan for; the backend's device and all its memory if absent.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON, sizes in bytes.")] = False,
    backend: Backend = "",
    device: Device = "",
) -> None:
    """Says what memory an edit would take and which settings it would be made with, and makes nothing."""
    from mattebox_desktop.cli.plan import run_plan

    run_plan(edit_file, card_memory, backend, device, as_json=as_json)


@app.command("regions")
@guarded
def _regions(
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="A video or a picture sequence.")],
    folder: Annotated[
        Path, typer.Option("-o", "--output", help="A new folder for the masks, an overview and edit.toml.")
    ],
    count: Annotated[int, typer.Option("-k", "--regions", help="How many regions, 2 to 32.")] = 5,
    prompt: Annotated[str, typer.Option(help="What the clip shows.")] = "",
    span: Annotated[
        tuple[int, int] | None,
        typer.Option("--range", help="Frames START STOP, from 0; STOP is not looked at. All when absent."),
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="The model that looks: a name, a folder or a hub id.")
    ] = "pocket-sd",
    reduction: Annotated[
        int, typer.Option(help="The attention read: 2 is half the latents' side; 0 lets the size decide.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Same seed, same regions.")] = 0,
    backend: Backend = "",
    device: Device = "",
) -> None:
    """Finds regions in a clip by itself, as masks and an edit file to go on with."""
    from mattebox_desktop.cli.regions import Search, run_regions

    run_regions(Search(clip, count, prompt, span, backbone, reduction, seed), folder, backend, device)


class Detail(StrEnum):
    """How much a caption says."""

    SENTENCE = "sentence"
    DETAILED = "detailed"
    PARAGRAPH = "paragraph"


@app.command("caption")
@guarded
def _caption(
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="A video, a picture sequence or a picture.")],
    frame: Annotated[int, typer.Option(help="Which frame, from 0.")] = 0,
    detail: Annotated[Detail, typer.Option(help="How much is said.")] = Detail.PARAGRAPH,
    captioner: Annotated[
        str,
        typer.Option(
            help="A Florence-2 on the backend's machine: a name, a folder or a hub id; any if absent."
        ),
    ] = "",
    backend: Backend = "",
    device: Device = "",
) -> None:
    """Says what a frame shows, for a prompt: Florence-2, where its weights are."""
    from mattebox_desktop.cli.caption import run_caption

    run_caption(clip, frame, detail.value, captioner, backend, device)


@app.command("inspect")
@guarded
def _inspect(
    take: Annotated[str, typer.Argument(metavar="TAKE", help="A take of an edit with inspect = true.")],
    folder: Annotated[Path, typer.Option("-o", "--output", help="Folder for the pictures.")],
    backend: Backend = "",
) -> None:
    """Draws what attention and controls did while a take was made, one sheet per word and control."""
    from mattebox_desktop.cli.inspection import run_inspect

    run_inspect(take, folder, backend)


@app.command("demo")
@guarded
def _demo(
    folder: Annotated[Path, typer.Option("-o", "--output", help="Folder for what the demo makes.")] = Path(
        "mattebox-demo"
    ),
    backend: Backend = "",
    device: Device = "",
) -> None:
    """Makes the shipped demo edit: source, masks, result, a side-by-side picture and the report."""
    from mattebox_desktop.cli.demo import run_demo

    run_demo(folder, backend, device)


@app.command("serve", context_settings=_HANDED_ON)
@guarded
def _serve(
    context: typer.Context,
    stop: Annotated[bool, typer.Option("--stop", help="End this machine's backend instead.")] = False,
) -> None:
    """Runs a backend (--help: its options), or ends the running one (--stop)."""
    from mattebox_desktop.cli.processes import run_backend, stop_backend

    if stop:
        stop_backend()
        return
    if "--help" in context.args:
        typer.echo("`mattebox serve --stop` ends this machine's backend; this is how one is run:\n")
    raise typer.Exit(run_backend(["serve", *context.args]))


@app.command("bench", context_settings=_HANDED_ON)
@guarded
def _bench(context: typer.Context) -> None:
    """Measures: `bench attention`, `bench edits --method M --tasks N --json F` (--help: more)."""
    from mattebox_desktop.cli.processes import run_backend

    raise typer.Exit(run_backend(["bench", *context.args]))


cache = typer.Typer(help="Shows what the cache holds, or clears it.", invoke_without_command=True)
app.add_typer(cache, name="cache")


@cache.callback()
@guarded
def _cache(context: typer.Context, backend: Backend = "") -> None:
    from mattebox_desktop.cli.listings import show_cache

    context.obj = backend
    if context.invoked_subcommand is None:
        show_cache(backend)


@cache.command("clear")
@guarded
def _cache_clear(
    context: typer.Context,
    kinds: Annotated[
        list[str] | None, typer.Argument(help="What to clear; all but takes and adapters when absent.")
    ] = None,
    backend: Backend = "",
) -> None:
    """Clears the cache, or only the kinds named."""
    from mattebox_desktop.cli.listings import clear_cache

    clear_cache(kinds or [], backend or context.obj)


jobs = typer.Typer(help="Lists jobs, shows a job's log, cancels one.", invoke_without_command=True)
app.add_typer(jobs, name="jobs")


@jobs.callback()
@guarded
def _jobs(context: typer.Context, backend: Backend = "") -> None:
    from mattebox_desktop.cli.listings import show_jobs

    context.obj = backend
    if context.invoked_subcommand is None:
        show_jobs(backend)


@jobs.command("cancel")
@guarded
def _jobs_cancel(
    context: typer.Context, job: Annotated[str, typer.Argument(help="Its id.")], backend: Backend = ""
) -> None:
    """Cancels a job."""
    from mattebox_desktop.cli.listings import cancel_job

    cancel_job(job, backend or context.obj)


@jobs.command("log")
@guarded
def _jobs_log(
    context: typer.Context, job: Annotated[str, typer.Argument(help="Its id.")], backend: Backend = ""
) -> None:
    """Prints a job's log."""
    from mattebox_desktop.cli.listings import print_log

    print_log(job, backend or context.obj)


takes = typer.Typer(
    help="Lists takes, shows one, writes one to a file, deletes one.", invoke_without_command=True
)
app.add_typer(takes, name="takes")


@takes.callback()
@guarded
def _takes(context: typer.Context, backend: Backend = "") -> None:
    from mattebox_desktop.cli.listings import show_takes

    context.obj = backend
    if context.invoked_subcommand is None:
        show_takes(backend)


@takes.command("show")
@guarded
def _takes_show(
    context: typer.Context, take: Annotated[str, typer.Argument(help="Its id.")], backend: Backend = ""
) -> None:
    """Says what a take is and how it came about."""
    from mattebox_desktop.cli.listings import show_take

    show_take(take, backend or context.obj)


@takes.command("export")
@guarded
def _takes_export(
    context: typer.Context,
    take: Annotated[str, typer.Argument(help="Its id.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="As of `mattebox edit`.")],
    backend: Backend = "",
) -> None:
    """Writes a take to a file."""
    from mattebox_desktop.cli.listings import export_take

    export_take(take, output, backend or context.obj)


@takes.command("delete")
@guarded
def _takes_delete(
    context: typer.Context, take: Annotated[str, typer.Argument(help="Its id.")], backend: Backend = ""
) -> None:
    """Deletes a take."""
    from mattebox_desktop.cli.listings import delete_take

    delete_take(take, backend or context.obj)


@app.command("schema")
@guarded
def _schema() -> None:
    """Prints the JSON schema of the edit file."""
    import json

    from mattebox_proto.editfile import schema

    typer.echo(json.dumps(schema(), indent=2, ensure_ascii=False))
