"""Adapters on disk, in peft's layout: found again by what they were made from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mattebox_backend.backbones.video_protocol import VideoBackbone
from mattebox_backend.diffusion.entries import new_entry
from mattebox_backend.lora.adapter import AdapterPlan, Weights

_WEIGHTS, _CONFIG, _ABOUT = "adapter_model.safetensors", "adapter_config.json", "mattebox.json"
_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True, eq=False)
class KeptAdapter:
    """id: the digest of all that it was made from. losses: of its last stage."""

    id: str
    plan: AdapterPlan
    weights: Weights
    losses: Sequence[float]


def adapter_id(recipe: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of all that an adapter is made from: JSON values."""
    content = json.dumps({"adapter": 1, **recipe}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


class AdapterStore:
    """A folder with one folder per adapter, which peft loads as any other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, name: str) -> KeptAdapter | None:
        """The adapter of an id when it is here and whole; a damaged one is removed."""
        entry = self._folder / name
        if not entry.is_dir():
            return None
        try:
            about = json.loads((entry / _ABOUT).read_text("utf-8"))
            weights = {key.removeprefix(_PREFIX): value for key, value in load_file(entry / _WEIGHTS).items()}
            kept = KeptAdapter(name, AdapterPlan(**about["plan"]), weights, tuple(about["losses"]))
            os.utime(entry / _ABOUT)  # the cache drops what was used longest ago
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            shutil.rmtree(entry, ignore_errors=True)
            return None
        return kept

    def add(self, kept: KeptAdapter, backbone: VideoBackbone, recipe: Mapping[str, Any]) -> None:
        """Keep an adapter. recipe: what its id was made from, for whoever looks into the folder."""
        config = {
            **_jsonable(kept.plan.config(backbone).to_dict()),
            "base_model_name_or_path": backbone.name,
        }
        about = {
            "version": 1,
            "plan": {
                "rank": kept.plan.rank,
                "alpha": kept.plan.alpha,
                "feed_forward": kept.plan.feed_forward,
            },
            "losses": list(kept.losses),
            "recipe": dict(recipe),
        }
        with new_entry(self._folder, kept.id) as draft:
            weights = {f"{_PREFIX}{name}": value.contiguous() for name, value in kept.weights.items()}
            save_file(weights, draft / _WEIGHTS, {"format": "pt"})
            for name, content in ((_CONFIG, config), (_ABOUT, about)):
                (draft / name).write_text(json.dumps(content, indent=1), "utf-8")


def _jsonable(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
