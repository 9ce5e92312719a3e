"""`mattebox inspect`: sheets of what attention and controls did, over the frames that came out, and of the
clusters that the source falls into.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import typer
from mattebox_media import Frame
from mattebox_proto.atomic_file import replacing
from mattebox_proto.client import Client
from mattebox_proto.mattebox.v1 import jobs_pb2
from numpy.typing import NDArray
from PIL import Image

from mattebox_desktop.cli.connecting import connect
from mattebox_desktop.cli.failures import UsageFault
from mattebox_desktop.cli.pictures import color_of, side_by_side, tinted

_COLUMNS = 5
_SIDE = 192


def run_inspect(take: str, folder: Path, backend: str) -> None:
    """One PNG per word and per control in the folder: a row per step, a column per frame; and one of the
    clusters.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageFault(f"{folder} is a file; name a folder for the pictures with -o.")
    with connect(backend) as client:
        found = client.take(take)
        sheets = _by_subject(client.inspect(take))
        picked = _picked(found.stop - found.start)
        frames = _frames(client, found, picked)
    folder.mkdir(parents=True, exist_ok=True)
    for name, maps in sheets.items():
        with replacing(folder / f"{name}.png") as file:
            draw = cluster_sheet if maps[0].kind == jobs_pb2.InspectionMap.KIND_CLUSTERS else sheet
            draw(maps, frames, picked).save(file, "PNG")
    words = sum(name.startswith("word-") for name in sheets)
    controls = sum(name.startswith("control-") for name in sheets)
    clusters = ", the source's clusters" if len(sheets) > words + controls else ""
    typer.echo(f"{folder}: {words} words and {controls} maps of controls{clusters}, take {take}")


def sheet(
    maps: Sequence[jobs_pb2.InspectionMap], frames: Sequence[NDArray[np.uint8]], picked: Sequence[int]
) -> Image.Image:
    """The maps of one word or control as heat over the take's frames.

    frames: (H, W, 3) uint8, those that `picked` names. All rows of a control share one scale; of attention
    each row has its own, because it grows by orders of magnitude on the way.

    A row is labelled with its step, its noise level (log-SNR) and its largest value.
    """
    values = [_values(m) for m in maps]
    common = max((float(v.max()) for v in values), default=0.0)
    attention = bool(maps) and maps[0].kind == jobs_pb2.InspectionMap.KIND_ATTENTION
    rows = []
    for message, of_step in zip(maps, values, strict=True):
        top = float(of_step.max()) if attention else common
        heated = [heat(frame, of_step[index], top) for frame, index in zip(frames, picked, strict=True)]
        rows.append((f"step {message.step} {message.level:+.1f} ≤{top:.2g}", heated))
    return side_by_side(rows, picked)


def cluster_sheet(
    maps: Sequence[jobs_pb2.InspectionMap], frames: Sequence[NDArray[np.uint8]], picked: Sequence[int]
) -> Image.Image:
    """The take's frames, and the same under the clusters of the source in their colours, token by token."""
    rows = [("result", list(frames))]
    for message in maps:
        labels = _values(message).astype(np.uint8)
        colors = [color_of(number) for number in range(int(labels.max()) + 1)]
        marked = [
            tinted(frame, [(_cells(labels[index] == n, frame), color) for n, color in enumerate(colors)])
            for frame, index in zip(frames, picked, strict=True)
        ]
        rows.append((f"source's clusters {message.level:+.1f}", marked))
    return side_by_side(rows, picked)


def heat(frame: NDArray[np.uint8], values: NDArray[np.float32], top: float) -> NDArray[np.uint8]:
    """A frame (H, W, 3), dimmed, with values (h, w) glowing over it: none at 0, brightest at `top`."""
    height, width = frame.shape[:2]
    plane = Image.fromarray(np.clip(values / top if top > 0 else values * 0, 0, 1).astype(np.float32))
    share = np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR))[..., None]
    # Black through red and orange to white, as a glowing body does.
    glow = np.clip(share * 3 - np.array([0.0, 1.0, 2.0], np.float32), 0, 1) * 255
    mixed = frame.astype(np.float32) * 0.35 * (1 - share) + glow * (0.25 + 0.75 * share)
    glowing: NDArray[np.uint8] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return glowing


def _by_subject(
    maps: Iterable[jobs_pb2.InspectionMap],
) -> Mapping[str, list[jobs_pb2.InspectionMap]]:
    """Maps by the file name of their sheet, in the order of the steps."""
    subjects: dict[str, list[jobs_pb2.InspectionMap]] = defaultdict(list)
    for message in maps:
        plain = re.sub(r"[^\w.-]+", "-", message.name).strip("-") or "unnamed"
        if message.kind == jobs_pb2.InspectionMap.KIND_ATTENTION:
            of = re.sub(r"[^\w.-]+", "-", message.region).strip("-")
            name = f"word-{message.position:02d}-{plain}" + (f"-of-{of}" if of else "")
        elif message.kind == jobs_pb2.InspectionMap.KIND_CLUSTERS:
            name = "clusters"
        else:
            name = f"control-{plain}"
        subjects[name].append(message)
    return subjects


def _values(message: jobs_pb2.InspectionMap) -> NDArray[np.float32]:
    """(F, h, w)."""
    shape = (message.frames, message.height, message.width)
    return np.frombuffer(message.values, "<f2").astype(np.float32).reshape(shape)


def _cells(inside: NDArray[np.bool_], frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tokens (h, w) as a mask of a frame's pixels (H, W), 0 or 255."""
    size = (frame.shape[1], frame.shape[0])
    plane = Image.fromarray(inside.astype(np.uint8) * 255)
    return np.asarray(plane.resize(size, Image.Resampling.NEAREST))


def _picked(count: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, count - 1, min(_COLUMNS, count))})


def _frames(client: Client, take: jobs_pb2.Take, picked: Sequence[int]) -> list[NDArray[np.uint8]]:
    return [
        _small(next(iter(client.read_take(take.id, take.start + i, take.start + i + 1)))[1]) for i in picked
    ]


def _small(frame: Frame) -> NDArray[np.uint8]:
    rgb = frame[..., :3]
    if rgb.dtype != np.uint8:
        rgb = (rgb // 257).astype(np.uint8)
    scale = min(1.0, _SIDE / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize(size, Image.Resampling.BOX))
