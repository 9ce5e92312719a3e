"""`mattebox plan`: the memory that an edit would take, and the settings that it would be made with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from mattebox_proto.mattebox.v1 import jobs_pb2
from rich.table import Table

from mattebox_desktop.cli.connecting import connect
from mattebox_desktop.cli.failures import UsageFault
from mattebox_desktop.cli.listings import print_table
from mattebox_desktop.cli.progress import bar
from mattebox_desktop.cli.rendering import prepare

_MOST_GIB = 1024.0
_PARTS = ("weights", "activations", "adapter", "optimiser")


def run_plan(edit_file: Path, card_memory: float | None, backend: str, device: str, *, as_json: bool) -> None:
    """card_memory: GiB of a card; None: of the backend's device. Raises BackendError, UsageFault."""
    if card_memory is not None and not 0 < card_memory <= _MOST_GIB:
        raise UsageFault(
            f"--card-memory {card_memory:g} is no size of a card; give GiB, above 0 and up to {_MOST_GIB:g}."
        )
    edit = prepare(edit_file)
    with connect(backend, device) as client:
        with bar("Clip") as shown:
            clip = client.open_clip(edit.source, sent=lambda done, total: shown.show(done, total, "sending"))
        edit.message.clip = clip.id
        plan = client.plan(edit.message, round((card_memory or 0) * (1 << 30)))
    if as_json:
        typer.echo(json.dumps(_values(plan, card_memory), indent=2, ensure_ascii=False))
        return
    where = f"a card of {card_memory:g} GiB" if card_memory else plan.device
    typer.echo(
        f"{plan.backbone} on {where}, {plan.dtype}: {plan.frames} frames of {plan.width}×{plan.height}, "
        f"{_mb(plan.memory)} of memory."
    )
    print_table(_table(plan), "")
    how = "tile by tile" if plan.autoencoder_tiles else "the whole picture at once"
    typer.echo(f"By themselves: autoencoder {_mb(plan.autoencoder)}, {how}; text encoder {_mb(plan.prompt)}.")


def _table(plan: jobs_pb2.MemoryPlan) -> Table:
    table = Table("", "training", "generation", box=None)
    for name in (1, 2):
        table.columns[name].justify = "right"
    both = (plan.training, plan.generation)
    table.add_row("frames together", *(_frames(work, plan) for work in both))
    table.add_row("computed again", "yes" if plan.training.checkpointing else "no", "–")
    table.add_row("blocks swapped", *(f"{work.blocks_to_swap} of {plan.blocks}" for work in both))
    for part in _PARTS:
        table.add_row(part, *(_mb(getattr(work, part)) for work in both))
    table.add_row("at the peak", *(_mb(_peak(work)) for work in both))
    return table


def _values(plan: jobs_pb2.MemoryPlan, card_memory: float | None) -> dict[str, Any]:
    """Sizes in bytes."""
    return {
        "backbone": plan.backbone,
        "device": "card" if card_memory else plan.device,
        "dtype": plan.dtype,
        "memory": plan.memory,
        "width": plan.width,
        "height": plan.height,
        "frames": plan.frames,
        "blocks": plan.blocks,
        "training": _work_values(plan.training),
        "generation": _work_values(plan.generation),
        "autoencoder": {"peak": plan.autoencoder, "tiles": plan.autoencoder_tiles},
        "text_encoder": {"weights": plan.prompt},
    }


def _work_values(work: jobs_pb2.WorkPlan) -> dict[str, Any]:
    return {
        "frames": work.frames,
        "checkpointing": work.checkpointing,
        "blocks_to_swap": work.blocks_to_swap,
        **{part: getattr(work, part) for part in _PARTS},
        "peak": _peak(work),
    }


def _peak(work: jobs_pb2.WorkPlan) -> int:
    return work.weights + work.activations + work.adapter + work.optimiser


def _frames(work: jobs_pb2.WorkPlan, plan: jobs_pb2.MemoryPlan) -> str:
    return f"{work.frames}, the whole clip" if work.frames == plan.frames else f"{work.frames}, in windows"


def _mb(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MB"
