"""Which models there are, where they lie, and the one that is kept loaded."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mattebox_backend.backbones.folder import ModelFolder, ParameterValue
from mattebox_backend.captions import folders as captioners
from mattebox_backend.errors import ModelRefused, UnknownModel

if TYPE_CHECKING:
    from mattebox_backend.backbones.controlnet import ControlNet
    from mattebox_backend.backbones.protocol import Backbone
    from mattebox_backend.backbones.video_protocol import VideoBackbone
    from mattebox_backend.captions.florence import Florence
    from mattebox_backend.device import Device
    from mattebox_backend.metrics.scorer import Scorer

T = TypeVar("T")
_Find = Callable[[str], Path | str]

_INDEX = "model_index.json"
_MARKS = (_INDEX, *(f"{part}/config.json" for part in ("unet", "transformer", "motion_adapter")))
"""Files of which one at least makes a folder a model."""
_LOADABLE = {
    "StableDiffusionPipeline": ("unet", "vae", "text_encoder"),
    "RegionDiffusionPipeline": ("unet", "region"),
    "AnimateDiffPipeline": ("unet", "motion_adapter", "vae", "text_encoder"),
    "WanImageToVideoPipeline": ("transformer", "vae", "text_encoder", "image_encoder"),
    "HunyuanVideoImageToVideoPipeline": ("transformer", "vae", "text_encoder", "text_encoder_2"),
}
"""The pipelines that can be loaded, with the components that have weights."""
_FAMILIES = {
    "StableDiffusionPipeline": "stable-diffusion",
    "StableDiffusionInpaintPipeline": "stable-diffusion-inpaint",
    "AnimateDiffPipeline": "animatediff",
    "WanImageToVideoPipeline": "wan-image-to-video",
    "HunyuanVideoImageToVideoPipeline": "hunyuan-video-image-to-video",
    "RegionDiffusionPipeline": "region-diffusion",
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
        self._warm: tuple[tuple[object, str, Device], Any] | None = None
        self._warm_controlnet: tuple[tuple[str, Device], ControlNet] | None = None

    def resolve(self, model: str) -> Path | str:
        """The folder of a model, or its hub id unchanged. Raises UnknownModel."""
        if not model:
            raise UnknownModel(
                f"The edit names no backbone; use one of {self._known()}, a model folder or a hub id."
            )
        place = _at_path(model, "backbone") or self._find(model)
        if place is None:
            raise _unknown("backbone", model, self._known())
        return place

    def resolve_controlnet(self, name: str) -> Path | str:
        """The folder of a ControlNet, or its hub id unchanged. Raises UnknownModel."""
        place = _at_path(name, "ControlNet") or self._find(name, _is_controlnet)
        if place is None:
            raise _unknown("ControlNet", name, self._names(_is_controlnet))
        return place

    def resolve_scorer(self, name: str) -> Path | str:
        """The folder of a scorer (a CLIP), or its hub id unchanged. Raises UnknownModel."""
        place = _at_path(name, "scorer") or self._find(name, _is_scorer)
        if place is None:
            raise _unknown("scorer", name, self._names(_is_scorer))
        return place

    def resolve_captioner(self, name: str) -> Path:
        """The folder of a captioner (a Florence-2); where no name is given, of the first that can be loaded.

        One on the hub counts once it lies in the hub's cache on this machine: none is ever fetched. Raises
        UnknownModel, and ModelRefused for one whose files say that it cannot be loaded.
        """
        place = _at_path(name, "captioner") if name else None
        known = self.captioners() if place is None else [_captioner_entry(name, place)]
        for entry in known:
            if not name and entry.available:
                return Path(entry.location)
            if entry.id == name and entry.note:
                raise ModelRefused(f"The captioner {name} cannot be loaded: {entry.note}.")
            if entry.id == name:
                return Path(entry.location)
        if not name:
            raise UnknownModel(self.captioner_note())
        names = ", ".join(entry.id for entry in known) or "no captioner"
        raise UnknownModel(
            f"The captioner “{name}” is not on this machine, which has {names}; {captioners.HOW_TO_GET_ONE}."
        )

    def load(self, backbone_id: str, device: Device) -> Backbone:
        """The loaded image model, kept for the next job. Raises UnknownModel and ModelRefused."""
        from mattebox_backend.backbones import load_backbone

        return self._kept(backbone_id, device, load_backbone)

    def load_video(self, backbone_id: str, device: Device) -> VideoBackbone:
        """The loaded image-to-video model, kept likewise. Raises UnknownModel and ModelRefused."""
        from mattebox_backend.backbones import load_video_backbone

        return self._kept(backbone_id, device, load_video_backbone)

    def outline_video(self, backbone_id: str, device: Device) -> VideoBackbone:
        """An image-to-video model's outline, from its configuration files alone. Raises UnknownModel and
        ModelRefused.
        """
        from mattebox_backend.backbones import outline_video_backbone

        return outline_video_backbone(self.resolve(backbone_id), device)

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

    def load_scorer(self, name: str, device: Device) -> Scorer:
        """A scorer, loaded anew: who asks for it keeps it. Raises UnknownModel and ModelRefused."""
        from mattebox_backend.metrics.scorer import open_scorer

        return open_scorer(self.resolve_scorer(name), device)

    def load_captioner(self, name: str, device: Device) -> Florence:
        """A captioner, loaded anew: who asks for it frees it. Raises UnknownModel and ModelRefused."""
        from mattebox_backend.captions.florence import Florence

        path = self.resolve_captioner(name)
        return Florence.load(ModelFolder(name or path.name, path), device)

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
                    found[path.name] = self._entry(path.name, path)
        return sorted(found.values(), key=lambda entry: entry.id)

    def captioners(self) -> list[ModelEntry]:
        """Captioners: those in folders, then those in the hub's cache on this machine."""
        found: dict[str, Path] = {}
        for folder in (shipped_folder(), *self._folders):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if _is_captioner(path):
                    found.setdefault(path.name, path)
        for name, path in _hub_snapshots("config.json"):
            if _is_captioner(path):
                found.setdefault(name, path)
        return [_captioner_entry(name, path) for name, path in found.items()]

    def captioner_note(self) -> str:
        """Why there is no captioner that can be loaded, and how to get one; empty where there is one."""
        known = self.captioners()
        if any(entry.available for entry in known):
            return ""
        why = "; ".join(f"{entry.id}: {entry.note}" for entry in known)
        there = f"No captioner on this machine can be loaded ({why})" if why else "There is no captioner here"
        return f"{there}; {captioners.HOW_TO_GET_ONE}."

    def _kept(self, backbone_id: str, device: Device, load: Callable[[Path | str, Device, _Find], T]) -> T:
        """What `load` makes of a model, loaded once for as long as no other one is asked for."""
        place = self.resolve(backbone_id)
        wanted = (load, str(place), device)
        with self._lock:
            if self._warm is not None and self._warm[0] == wanted:
                kept: T = self._warm[1]
                return kept
            self._unload()
            backbone = load(place, device, self._base)
            self._warm = (wanted, backbone)
            return backbone

    def _find(self, model: str, fits: Callable[[Path], bool] | None = None) -> Path | str | None:
        fits = fits or _is_model
        for folder in (shipped_folder(), *self._folders):
            if _is_plain(model) and fits(folder / model):
                return folder / model
        return model if model.count("/") == 1 and not model.startswith((".", "/", "~")) else None

    def _base(self, name: str) -> Path | str:
        """Where the model lies that another one is built on; what is not known is not listed here, since a
        list of the models asks for their bases.
        """
        place = self._find(name)
        if place is None:
            raise UnknownModel(f"The model {name} is not known.")
        return place

    def _unload(self) -> None:
        self._unload_controlnet()
        if self._warm is not None:
            self._warm[1].unload()
            self._warm = None

    def _unload_controlnet(self) -> None:
        if self._warm_controlnet is not None:
            self._warm_controlnet[1].unload()
            self._warm_controlnet = None

    def _names(self, fits: Callable[[Path], bool]) -> str:
        """What the installed folders of a kind are called, for a sentence."""
        folders = [folder for folder in (shipped_folder(), *self._folders) if folder.is_dir()]
        names = {path.name for folder in folders for path in folder.iterdir() if fits(path)}
        return ", ".join(sorted(names)) or "none that is installed"

    def _known(self) -> str:
        return ", ".join(entry.id for entry in self.entries() if entry.available) or "none that is installed"

    def _cached_hub_models(self) -> Iterator[ModelEntry]:
        for name, path in _hub_snapshots(_INDEX):
            yield self._entry(name, path)

    def _entry(self, name: str, path: Path) -> ModelEntry:
        folder, pipeline = ModelFolder(name, path), ""
        try:
            pipeline = folder.pipeline()
            folder = self._with_base(folder)
            defaults = folder.defaults()
        except ModelRefused as error:
            return ModelEntry(name, _FAMILIES.get(pipeline, pipeline), str(path), False, str(error))
        known = _LOADABLE.get(pipeline)
        note = f"{pipeline} is not in this version yet" if known is None else _fault(folder, known)
        return ModelEntry(name, _FAMILIES.get(pipeline, pipeline), str(path), not note, note, defaults)

    def _with_base(self, folder: ModelFolder) -> ModelFolder:
        """The folder with its base; one on the hub is left for when the model is loaded."""
        base = folder.base_name()
        place = folder.locate(base, self._base) if base is not None else None
        return replace(folder, base=ModelFolder(place.name, place)) if isinstance(place, Path) else folder


def shipped_folder() -> Path:
    """Where the models that come with Mattebox lie."""
    return Path(str(resources.files("mattebox_resources"))) / "models"


def _at_path(name: str, what: str) -> Path | None:
    """The folder that a full path names; None for another name. Raises UnknownModel where there is none."""
    path = Path(name).expanduser()
    if path.is_absolute() and not path.is_dir():
        raise UnknownModel(f"There is no model folder at {path}; check the path of the {what}.")
    return path if path.is_absolute() else None


def _unknown(what: str, name: str, known: str) -> UnknownModel:
    return UnknownModel(
        f"The {what} “{name}” is not known; use one of {known}, the full path of a model folder, or a hub id "
        "such as owner/name."
    )


def _is_plain(model: str) -> bool:
    return "/" not in model and "\\" not in model and model not in (".", "..")


def _is_model(folder: Path) -> bool:
    return any(
        (folder / name).is_file()
        for name in (_INDEX, "unet/config.json", "transformer/config.json", "motion_adapter/config.json")
    )


def _is_controlnet(folder: Path) -> bool:
    return _says(folder, "_class_name", "ControlNetModel")


def _is_scorer(folder: Path) -> bool:
    return _says(folder, "model_type", "clip")


def _is_captioner(folder: Path) -> bool:
    return _says(folder, "model_type", "florence2")


def _captioner_entry(name: str, path: Path) -> ModelEntry:
    note = captioners.fault_of(ModelFolder(name, path))
    return ModelEntry(name, captioners.FAMILY, str(path), not note, note)


def _hub_snapshots(mark: str) -> Iterator[tuple[str, Path]]:
    """Hub ids in the hub's cache on this machine, with their newest snapshot that has the file `mark`."""
    from huggingface_hub import constants

    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*--*")):
        snapshots = sorted(folder.glob(f"snapshots/*/{mark}"), key=lambda path: path.stat().st_mtime)
        if snapshots:
            yield "/".join(folder.name.split("--")[1:]), snapshots[-1].parent


def _says(folder: Path, key: str, value: str) -> bool:
    """Whether a folder's own configuration says so."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get(key) == value


def _fault(folder: ModelFolder, components: tuple[str, ...]) -> str:
    """Why a model cannot be loaded, as far as its files say; empty when nothing speaks against it."""
    for component in components:
        place = folder.place(component)
        if not place.is_dir() or any(place.glob("*.safetensors")):
            continue
        what = "only pickled weights, which are never loaded" if any(place.glob("*.bin")) else "no weights"
        return f"{component} has {what}; it needs safetensors"
    return ""
