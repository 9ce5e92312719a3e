"""`mattebox regions`: candidates for regions that a model finds in a clip, as masks and an edit file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from mattebox_media import Frame, open_clip
from mattebox_proto.atomic_file import replacing
from mattebox_proto.client import Client
from mattebox_proto.codecs.masks import decode_track
from mattebox_proto.editfile import EditFile, RegionSpec, to_toml
from mattebox_proto.mattebox.v1 import clips_pb2, masks_pb2
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mattebox_desktop.cli.connecting import connect
from mattebox_desktop.cli.failures import UsageFault
from mattebox_desktop.cli.pictures import color_of, side_by_side, tinted
from mattebox_desktop.cli.progress import STAGES, bar

_COLUMNS = 5
_LEGEND = 28
_UNSAID = "a video"
"""What an edit file says of a clip of which nothing was said: its prompts may not be empty."""
_HEADER = """\
# Candidates for regions of {name}, found by `mattebox regions`; overview.png shows them.
# Keep those that should change, say in each prompt what should be there, and delete the others.
"""


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for; span: frames, half open, None for all of the clip."""

    clip: Path
    count: int
    prompt: str
    span: tuple[int, int] | None
    backbone: str
    reduction: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """masks: (F, H, W) uint8. share: of all pixels."""

    masks: NDArray[np.uint8]
    share: float


def run_regions(search: Search, folder: Path, backend: str, device: str) -> None:
    """Nothing is written before the search has come to its end."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageFault(f"{folder} is there already; name a new folder for the regions with -o.")
    with open_clip(search.clip) as reader:
        frames = reader.info.frame_count
    start, stop = search.span or (0, frames)
    if not 0 <= start < stop <= frames:
        raise UsageFault(
            f"--range {start} {stop} is not within {search.clip}, which has {frames} frames; STOP itself "
            "is not looked at."
        )
    with connect(backend, device) as client:
        with bar("Clip") as shown:
            clip = client.open_clip(search.clip, sent=lambda done, total: shown.show(done, total, "sending"))
        found = _find(client, clip, search, start, stop)
    for number, region in enumerate(found, 1):
        masks = folder / f"region-{number}"
        masks.mkdir(parents=True)
        for frame, mask in enumerate(region.masks, start):
            Image.fromarray(mask).save(masks / f"{frame:04d}.png")
    with replacing(folder / "overview.png") as file:
        overview(search.clip, start, found).save(file, "PNG")
    with replacing(folder / "edit.toml") as file:
        text = _HEADER.format(name=search.clip.name) + to_toml(_edit(search, start, stop, len(found)))
        file.write(text.encode())
    typer.echo(f"{folder}: {len(found)} regions of frames {start} to {stop - 1}")
    for number, region in enumerate(found, 1):
        typer.echo(f"  region-{number}/   {region.share:6.1%} of the picture")
    typer.echo(f"Say what should be where in {folder / 'edit.toml'}, then run `mattebox edit` on it.")


def overview(clip: Path, start: int, found: Sequence[Found]) -> Image.Image:
    """A sheet of some frames, plain and with the regions in their colours, and which colour is which."""
    count = len(found[0].masks)
    picked = sorted({round(i) for i in np.linspace(0, count - 1, min(_COLUMNS, count))})
    with open_clip(clip) as reader:
        frames = [_eight_bit(reader.frame(start + i)) for i in picked]
    marked = [
        tinted(frame, [(region.masks[i], color_of(number)) for number, region in enumerate(found)])
        for i, frame in zip(picked, frames, strict=True)
    ]
    sheet = side_by_side([("clip", frames), ("regions", marked)], [start + i for i in picked])
    whole = Image.new(
        "RGB", (max(sheet.width, 320), sheet.height + _LEGEND * len(found)), sheet.getpixel((0, 0))
    )
    whole.paste(sheet)
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(16)
    for number, region in enumerate(found):
        top = sheet.height + number * _LEGEND
        draw.rectangle((8, top + 4, 28, top + 22), fill=color_of(number))
        draw.text((38, top + 4), f"region-{number + 1}   {region.share:.1%}", fill=(230, 230, 230), font=font)
    return whole


def _find(client: Client, clip: clips_pb2.Clip, search: Search, start: int, stop: int) -> list[Found]:
    """Waits for the search. Raises BackendError; Ctrl-C ends it on both sides."""
    folder = Path(search.backbone)
    request = masks_pb2.ProposeRequest(
        clip=clip.id,
        start=start,
        stop=stop,
        backbone=str(folder.resolve()) if folder.is_dir() else search.backbone,
        prompt=search.prompt,
        regions=_unsigned("-k", search.count),
        reduction=_unsigned("--reduction", search.reduction),
        seed=_unsigned("--seed", search.seed),
    )
    found = []
    with bar("Regions") as shown:
        for event in client.propose_regions(request):
            if event.WhichOneof("event") == "progress":
                at = event.progress
                shown.show(at.step, at.of, STAGES.get(at.stage, "waiting for the backend"))
            else:
                masks = decode_track(
                    event.proposal.masks, frames=stop - start, height=clip.height, width=clip.width
                )
                found.append(Found(masks, event.proposal.share))
    return found


def _unsigned(option: str, value: int) -> int:
    if not 0 <= value < 2**32:
        raise UsageFault(f"{option} {value} is not a number from 0 to {2**32 - 1}.")
    return value


def _edit(search: Search, start: int, stop: int, count: int) -> EditFile:
    """An edit of all that was found, which asks for what is there already."""
    prompt = search.prompt.strip() or _UNSAID
    folder = Path(search.backbone)
    return EditFile(
        source=str(search.clip.absolute()),
        range=(start, stop),
        prompt=prompt,
        source_prompt=search.prompt.strip(),
        backbone=str(folder.resolve()) if folder.is_dir() else search.backbone,
        region=[
            RegionSpec(
                name=f"region-{number}",
                prompt=prompt,
                mask=f"region-{number}/%04d.png",
                color=color_of(number - 1),
            )
            for number in range(1, count + 1)
        ],
    )


def _eight_bit(frame: Frame) -> NDArray[np.uint8]:
    rgb = frame[..., :3]
    return rgb if rgb.dtype == np.uint8 else (rgb // 257).astype(np.uint8)
