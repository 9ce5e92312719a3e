"""`mattebox demo`: the shipped edit, from source to side-by-side picture, in one folder."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import typer
from mattebox_media import Frame, open_clip
from mattebox_proto.atomic_file import replacing
from mattebox_proto.codecs.masks import decode_frames
from mattebox_proto.mattebox.v1 import edit_pb2, jobs_pb2
from numpy.typing import NDArray
from PIL import Image

from mattebox_desktop.cli.connecting import connect
from mattebox_desktop.cli.edit import report_of, say_warnings, write_report
from mattebox_desktop.cli.failures import UsageFault
from mattebox_desktop.cli.pictures import color_of, side_by_side, tinted
from mattebox_desktop.cli.rendering import PreparedEdit, keeping, prepare, render, write_take

EDIT = "edit.toml"
_COLUMNS = 5


def run_demo(folder: Path, backend: str, device: str) -> None:
    """Copies the demo into the folder (over an earlier run's files), renders it and says where it all is."""
    _copy_demo(folder)
    edit = prepare(folder / EDIT)
    lossless, video = folder / "result.mkv", folder / "result.mp4"
    with connect(backend, device) as client:
        take = render(client, edit)
        with keeping(take, backend):
            write_take(client, take, edit.source, lossless)
            write_take(client, take, edit.source, video, title="Encode")
    picture = folder / "side-by-side.png"
    with replacing(picture) as file:
        _sheet(edit, take, lossless).save(file, "PNG")
    report = report_of(take)
    write_report(folder / "report.json", report)
    say_warnings(report)
    _say(folder, edit, report)


def _copy_demo(folder: Path) -> None:
    """Raises UsageFault rather than write over an edit that someone has changed."""
    if folder.exists() and not folder.is_dir():
        raise UsageFault(f"{folder} is a file; name a folder for the demo with -o.")
    with resources.as_file(resources.files("mattebox_resources") / "demo") as shipped:
        own = folder / EDIT
        if own.exists() and own.read_bytes() != (shipped / EDIT).read_bytes():
            raise UsageFault(
                f"{own} is no longer the demo's: render yours with `mattebox edit {own} -o result.mp4`, "
                "or name another folder for the demo with -o."
            )
        for source in (path for path in shipped.rglob("*") if path.is_file()):
            copy = folder / source.relative_to(shipped)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with replacing(copy) as file:
                file.write(source.read_bytes())


def _sheet(edit: PreparedEdit, take: jobs_pb2.Take, result: Path) -> Image.Image:
    count = take.stop - take.start
    picked = sorted({round(i) for i in np.linspace(0, count - 1, min(_COLUMNS, count))})
    with open_clip(edit.source) as source, open_clip(result) as rendered:
        before = [_bytes(source.frame(take.start + i)) for i in picked]
        after = [_bytes(rendered.frame(i)) for i in picked]
    marked = [_marked(edit.message, i, picture) for i, picture in zip(picked, before, strict=True)]
    rows = [("source", before), ("regions", marked), ("result", after)]
    return side_by_side(rows, [take.start + i for i in picked])


def _marked(edit: edit_pb2.Edit, index: int, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The source's frame with every region tinted in its colour."""
    return tinted(
        picture,
        [
            (
                next(m for i, m in enumerate(decode_frames(region.masks)) if i == index),
                region.color or color_of(number),
            )
            for number, region in enumerate(edit.regions)
        ],
    )


def _bytes(frame: Frame) -> NDArray[np.uint8]:
    rgb = frame[..., :3]
    return rgb if rgb.dtype == np.uint8 else (rgb // 257).astype(np.uint8)


def _say(folder: Path, edit: PreparedEdit, report: dict[str, object]) -> None:
    typer.echo(f"The demo is done, in {folder.absolute()}:")
    for name, what in (
        (edit.file.source, "the source"),
        ("masks/", "the regions' masks"),
        (EDIT, "the edit: change a prompt in it and run `mattebox edit` on it"),
        ("result.mkv", "the result, lossless"),
        ("result.mp4", "the result, to show"),
        ("side-by-side.png", "source, regions and result side by side"),
        ("report.json", "what was measured"),
    ):
        typer.echo(f"  {name:<18} {what}")
    if isinstance(exact := report.get("background_exact_share"), float):
        typer.echo(f"Outside the regions {exact:.2%} of the pixels are the source's, bit for bit.")
