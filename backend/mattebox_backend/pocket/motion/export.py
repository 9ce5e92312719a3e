"""Writes trained motion modules as a model folder that names its base: what a whole AnimateDiff pipeline has
beside them is the base's, and not copied.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path

import diffusers
import torch
from diffusers import MotionAdapter

from mattebox_backend.pocket.config import method_defaults
from mattebox_backend.pocket.errors import PocketError
from mattebox_backend.pocket.export import replaced_folder

FOLDER = "motion_adapter"


def export_motion(folder: Path, adapter: MotionAdapter, base: str, notes: Mapping[str, str]) -> None:
    """Write ``folder`` with ``model_index.json``, ``motion_adapter`` in float16, a ``mattebox.json`` that
    names ``base``, and the files of ``notes`` (name to text).

    The folder appears whole or not at all; one that stood there before is replaced.
    """
    index = {
        "_class_name": "AnimateDiffPipeline",
        "_diffusers_version": diffusers.__version__,
        FOLDER: ["diffusers", "MotionAdapter"],
    }
    about = {**json.loads(method_defaults("pocket-motion")), "base": base}
    with replaced_folder(folder) as fresh:
        copy.deepcopy(adapter).to(torch.float16).save_pretrained(fresh / FOLDER, safe_serialization=True)
        for name, content in (("model_index.json", index), ("mattebox.json", about)):
            (fresh / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        for name, text in notes.items():
            (fresh / name).write_text(text, encoding="utf-8")


def load_motion(folder: Path) -> MotionAdapter:
    """The motion modules in a folder that :func:`export_motion` wrote, in float32. Raises
    :class:`PocketError` when it holds none.
    """
    if not (folder / FOLDER / "config.json").is_file():
        raise PocketError(
            f"{folder} holds no {FOLDER}; name a folder that mattebox-train pocket-motion wrote."
        )
    return MotionAdapter.from_pretrained(
        folder, subfolder=FOLDER, torch_dtype=torch.float32, local_files_only=True
    )
