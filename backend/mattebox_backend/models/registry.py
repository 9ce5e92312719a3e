"""Which models there are, where they lie, and the one that is kept loaded."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from mattebox_backend.backbones.folder import ModelFolder, ParameterValue
from mattebox_backend.errors import ModelRefused, UnknownModel

if TYPE_CHECKING:
    from mattebox_backend.backbones.controlnet import ControlNet
    from mattebox_backend.backbones.protocol import Backbone
    from mattebox_backend.device import Device

_INDEX = "model_index.json"
_LOADABLE = "StableDiffusionPipeline"
_FAMILIES = {
    _LOADABLE: "stable-diffusion",
    "StableDiffusionInpaintPipeline": "stable-diffusion-inpaint",
    "AnimateDiffPipeline": "animatediff",
    "WanImageToVideoPipeline": "wan-image-to-video",
}


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """id: what an edit calls it. location: its folder. available: it can be loaded now; note says why not.
    defaults: the parameters per method that it does best with.
    """

    id: str
    family: str
    location: str
    available: bool
    note: str = ""
    defaults: Mapping[str, Mapping[str, ParameterValue]] = field(default_factory=dict)


class ModelRegistry:
    """Models by id: a shipped one, one in the user's model folders, a path, or a hub id (owner/name).

    folders: the user's, searched in order after the shipped models. One backbone is kept loaded; asking for
    another frees it first, and the ControlNet that is kept beside it.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = tuple(folders)
        self._lock = threading.Lock()
        self._warm: tuple[tuple[str, Device], Backbone] | None = None
        self._warm_controlnet: tuple[tuple[str, Device], ControlNet] | None = None

    def resolve(self, model: str) -> Path | str:
        """The folder of a model, or its hub id unchanged. Raises UnknownModel."""
        if not model:
            raise UnknownModel(
                f"The edit names no backbone; use one of {self._known()}, a model folder or a hub id."
            )
        return self._find("backbone", model, _is_model, self._known)

    def resolve_controlnet(self, name: str) -> Path | str:
        """The folder of a ControlNet, or its hub id unchanged. Raises UnknownModel."""
        return self._find("ControlNet", name, _is_controlnet, self._known_controlnets)

    def load(self, backbone_id: str, device: Device) -> Backbone:
        """The loaded backbone, kept for the next job. Raises UnknownModel and ModelRefused."""
        place = self.resolve(backbone_id)
        wanted = (str(place), device)
        with self._lock:
            if self._warm is not None and self._warm[0] == wanted:
                return self._warm[1]
            self._unload()
            from mattebox_backend.backbones import load_backbone

            backbone = load_backbone(place, device)
            self._warm = (wanted, backbone)
            return backbone

    def load_controlnet(self, name: str, device: Device) -> ControlNet:
        """The loaded ControlNet, kept for the next job. Raises UnknownModel and ModelRefused."""
        place = self.resolve_controlnet(name)
        wanted = (str(place), device)
        with self._lock:
            if self._warm_controlnet is not None and self._warm_controlnet[0] == wanted:
                return self._warm_controlnet[1]
            self._unload_controlnet()
            from mattebox_backend.backbones.controlnet import open_controlnet

            controlnet = open_controlnet(place, device)
            self._warm_controlnet = (wanted, controlnet)
            return controlnet

    def unload(self) -> None:
        """Frees the loaded backbone and ControlNet."""
        with self._lock:
            self._unload()

    def entries(self) -> list[ModelEntry]:
        """Shipped models, those in the user's folders, those in the hub's cache on this machine."""
        found = {entry.id: entry for entry in self._cached_hub_models()}
        for folder in (*reversed(self._folders), shipped_folder()):
            if not folder.is_dir():
                continue
            for path in sorted(folder.iterdir()):
                if _is_model(path):
                    found[path.name] = _entry(path.name, path)
        return sorted(found.values(), key=lambda entry: entry.id)

    def _unload(self) -> None:
        self._unload_controlnet()
        if self._warm is not None:
            self._warm[1].unload()
            self._warm = None

    def _unload_controlnet(self) -> None:
        if self._warm_controlnet is not None:
            self._warm_controlnet[1].unload()
            self._warm_controlnet = None

    def _find(
        self, what: str, name: str, fits: Callable[[Path], bool], known: Callable[[], str]
    ) -> Path | str:
        """The folder of a model that `fits`, or a hub id; what: the word for it in an error."""
        path = Path(name).expanduser()
        if path.is_absolute():
            if path.is_dir():
                return path
            raise UnknownModel(f"There is no model folder at {path}; check the path of the {what}.")
        for folder in (shipped_folder(), *self._folders):
            if _is_plain(name) and fits(folder / name):
                return folder / name
        if name.count("/") == 1 and not name.startswith((".", "/", "~")):
            return name
        raise UnknownModel(
            f"The {what} “{name}” is not known; use one of {known()}, the full path of a model folder, or a "
            "hub id such as owner/name."
        )

    def _known(self) -> str:
        return ", ".join(entry.id for entry in self.entries() if entry.available) or "none that is installed"

    def _known_controlnets(self) -> str:
        folders = [folder for folder in (shipped_folder(), *self._folders) if folder.is_dir()]
        names = {path.name for folder in folders for path in folder.iterdir() if _is_controlnet(path)}
        return ", ".join(sorted(names)) or "none that is installed"

    @staticmethod
    def _cached_hub_models() -> Iterator[ModelEntry]:
        from huggingface_hub.constants import HF_HUB_CACHE

        for folder in sorted(Path(HF_HUB_CACHE).glob("models--*--*")):
            snapshots = sorted(folder.glob(f"snapshots/*/{_INDEX}"), key=lambda path: path.stat().st_mtime)
            if snapshots:
                yield _entry("/".join(folder.name.split("--")[1:]), snapshots[-1].parent)


def shipped_folder() -> Path:
    """Where the models that come with Mattebox lie."""
    return Path(str(resources.files("mattebox_resources"))) / "models"


def _is_plain(model: str) -> bool:
    return "/" not in model and "\\" not in model and model not in (".", "..")


def _is_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (_INDEX, "unet/config.json", "transformer/config.json"))


def _is_controlnet(folder: Path) -> bool:
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("_class_name") == "ControlNetModel"


def _entry(name: str, folder: Path) -> ModelEntry:
    try:
        pipeline = _pipeline(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return ModelEntry(name, "", str(folder), False, f"{folder / _INDEX} cannot be read ({error})")
    family = _FAMILIES.get(pipeline, pipeline)
    try:
        defaults = ModelFolder(name, folder).defaults()
    except ModelRefused as error:
        return ModelEntry(name, family, str(folder), False, str(error))
    note = _fault(folder) if pipeline == _LOADABLE else f"{pipeline} is not in this version yet"
    return ModelEntry(name, family, str(folder), not note, note, defaults)


def _pipeline(folder: Path) -> str:
    """The name of the diffusers pipeline that the folder was saved from; a guess where it does not say."""
    index = folder / _INDEX
    if index.is_file():
        return str(json.loads(index.read_text(encoding="utf-8"))["_class_name"])
    return "StableDiffusionPipeline" if (folder / "unet").is_dir() else "transformer"


def _fault(folder: Path) -> str:
    """Why a model cannot be loaded, as far as its files say; empty when nothing speaks against it."""
    for component in ("unet", "transformer", "vae", "text_encoder"):
        if not (folder / component).is_dir() or any((folder / component).glob("*.safetensors")):
            continue
        pickled = any((folder / component).glob("*.bin"))
        what = "only pickled weights, which are never loaded" if pickled else "no weights"
        return f"{component} has {what}; it needs safetensors"
    return ""
