"""An `Edit` → the edit file that people read and `mattebox edit` renders again, its pixels beside it."""

from __future__ import annotations

from pathlib import Path

from mattebox_proto.editfile import ControlSpec, EditFile, ReferenceSpec, RegionSpec, save
from PIL import Image

from mattebox_backend.edit import Edit, Reference, Region


def save_edit(folder: Path, edit: Edit) -> None:
    """Writes ``edit.toml``, ``masks/<n>/<frame>.png``, ``references/<n>.png`` and ``condition/<frame>.png``
    into an empty folder.
    """
    # Not validated a second time: this edit has been rendered.
    file = EditFile.model_construct(
        source=str(edit.clip),
        range=(edit.start, edit.stop),
        prompt=edit.prompt,
        source_prompt=edit.source_prompt,
        method=edit.method,
        backbone=edit.backbone,
        seed=edit.seed,
        regions=[
            _save_region(folder, number, region, edit.start) for number, region in enumerate(edit.regions)
        ],
        references=[
            _save_reference(folder, number, reference) for number, reference in enumerate(edit.references)
        ],
        params=dict(edit.params),
        condition_pictures=_save_condition(folder, edit),
        inspect=edit.inspect,
        controls=[ControlSpec.model_construct(name=c.name, params=dict(c.params)) for c in edit.controls],
    )
    save(file, folder / "edit.toml")


def _save_region(folder: Path, number: int, region: Region, start: int) -> RegionSpec:
    masks = folder / "masks" / str(number)
    masks.mkdir(parents=True)
    for offset, mask in enumerate(region.masks):
        Image.fromarray(mask).save(masks / f"{start + offset:06d}.png")
    return RegionSpec.model_construct(
        name=region.name,
        prompt=region.prompt,
        mask=f"masks/{number}/%06d.png",
        mode=region.mode.value,
        dilation=region.dilation,
        feather=region.feather,
        order=region.order,
        words=list(region.words),
        color=region.color,
    )


def _save_condition(folder: Path, edit: Edit) -> str | None:
    if edit.condition_pictures is None:
        return None
    (folder / "condition").mkdir()
    for frame, picture in enumerate(edit.condition_pictures, edit.start):
        Image.fromarray(picture).save(folder / "condition" / f"{frame:06d}.png")
    return "condition/%06d.png"


def _save_reference(folder: Path, number: int, reference: Reference) -> ReferenceSpec:
    (folder / "references").mkdir(exist_ok=True)
    name = f"references/{number}.png"
    Image.fromarray(reference.image).save(folder / name)
    return ReferenceSpec.model_construct(frame=reference.frame, image=name, region=reference.region)
