"""What a command reads is never what it writes over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mattebox_media.sequence import files_at, is_pattern, numbered

from mattebox_desktop.cli.failures import UsageFault
from mattebox_desktop.cli.rendering import PreparedEdit


def inputs_of(edit: PreparedEdit) -> dict[Path, str]:
    """Every file that an edit is made from, by its real path, and what it is."""
    folder = edit.path.absolute().parent
    found = {edit.path.resolve(): "the edit file of this edit"}
    found |= dict.fromkeys(real_files(edit.source), "the source of this edit")
    for region in edit.file.regions:
        if region.mask is not None:
            found |= dict.fromkeys(real_files(folder / region.mask), f"a mask of region {region.name!r}")
    if edit.file.condition_pictures is not None:
        pictures = real_files(folder / edit.file.condition_pictures)
        found |= dict.fromkeys(pictures, "a condition picture of this edit")
    for reference in edit.file.references:
        found[(folder / reference.image).resolve()] = f"the reference picture of frame {reference.frame}"
    return found


def real_files(path: Path) -> list[Path]:
    """The files that a name or a number pattern stands for, with the links on the way to them followed."""
    return files_at(path.resolve())


def spare(inputs: Mapping[Path, str], output: Path, frames: int, report: Path | None = None) -> None:
    """Raises UsageFault where a file to be written is one of the inputs.

    frames: how many the output will have, a picture sequence counting from 0.
    """
    pictures = [numbered(output, n) for n in range(frames)] if is_pattern(output) else [output]
    if report is not None and report.resolve() in {picture.resolve() for picture in pictures}:
        raise UsageFault(f"The output and the report have one name, {report}; give each its own.")
    for path in pictures if report is None else [*pictures, report]:
        what = inputs.get(path.resolve())
        if what is not None:
            raise UsageFault(f"{path} is {what}; give another name to write to.")
