"""``python -m mattebox_backend``: what other processes start; people use the `mattebox` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mattebox_backend.errors import DeviceError, InvalidSettings, MatteboxError

app = typer.Typer(
    name="mattebox_backend",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root() -> None:
    """Mattebox's backend: the server, and the benchmarks that run in one process with it."""


@app.command()
def serve(
    listen: Annotated[
        str,
        typer.Option(
            help="HOST:PORT or unix:///path; absent: this user's socket. Beyond this machine needs TLS."
        ),
    ] = "",
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:N or mps; absent: as in backend.toml.")
    ] = "",
    idle_exit: Annotated[
        float, typer.Option(min=0, help="Seconds without clients and jobs after which to end; 0: never.")
    ] = 0,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
) -> None:
    """Serve edits until stopped."""
    from mattebox_backend.server.addresses import Certificate, Listen
    from mattebox_backend.server.backend import Options
    from mattebox_backend.server.serving import serve as serve_until_stopped

    try:
        options = Options(
            listen=Listen.parse(listen) if listen else None,
            certificate=Certificate.read(tls_cert, tls_key),
            device=device,
        )
        serve_until_stopped(options, idle_exit=idle_exit, say=typer.echo)
    except MatteboxError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2 if isinstance(error, InvalidSettings | DeviceError) else 1) from error


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False
)
def bench(context: typer.Context) -> None:
    """Benchmarks: attention, edits."""
    from mattebox_backend.bench.cli import app as bench_app

    bench_app(args=context.args, prog_name="mattebox bench")


def main() -> None:
    app()
