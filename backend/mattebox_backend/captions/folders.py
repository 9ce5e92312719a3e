"""Which folders are captioners, as far as their files say; without loading one."""

from __future__ import annotations

from typing import Final

from mattebox_backend.backbones.folder import ModelFolder
from mattebox_backend.errors import ModelRefused

FAMILY: Final = "florence-2"
HOW_TO_GET_ONE: Final = (
    "`hf download florence-community/Florence-2-base` fetches one, and its folder among the model folders of "
    "backend.toml serves as well"
)


def fault_of(folder: ModelFolder) -> str:
    """Why a folder of Florence-2's cannot be loaded; empty when nothing speaks against it."""
    try:
        config = folder.config("")
        if config.get("model_type") != "florence2":
            return f"it is of type {config.get('model_type')} and no Florence-2"
        if "auto_map" in config:
            return "it needs code of its own, which is never run; take florence-community's"
        folder.variant("")
    except ModelRefused as error:
        return str(error).rstrip(".")
    return ""
