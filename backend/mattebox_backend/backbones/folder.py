"""A model folder in diffusers layout: checked before anything in it is loaded, and identified by its
content.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

from mattebox_backend.errors import ModelRefused, UnknownModel

_SAMPLED_FROM_BYTES = 64 << 20
_SAMPLES = 16
_SAMPLE_BYTES = 1 << 20
_ABOUT = "mattebox.json"
_INDEX = "model_index.json"

PIPELINE_FILES = ("*.json", "*.txt", "*/*.json", "*/*.txt", "*/*.safetensors")
"""A pipeline: one folder per component. Single files beside them hold the same weights once more."""
NETWORK_FILES = ("config.json", "diffusion_pytorch_model*.safetensors")
"""One network alone."""

_TRANSFORMERS = {
    "WanTransformer3DModel": "WanImageToVideoPipeline",
    "HunyuanVideoTransformer3DModel": "HunyuanVideoImageToVideoPipeline",
}

ParameterValue = bool | int | float | str

_OF_FAMILY: dict[str, dict[str, dict[str, ParameterValue]]] = {
    "HunyuanVideoImageToVideoPipeline": {"mask-lora": {"guidance": 1.0, "shift": 7.0}},
}
"""What a family does best with, as its authors run it: HunyuanVideo-I2V unguided, at its own shift."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder that holds a model; `name` is what the user calls it.

    base: the model that this one is built on, as its `mattebox.json` names it (`"base": "pocket-sd"`): what
    the folder does not hold itself is taken from there.
    """

    name: str
    path: Path
    base: ModelFolder | None = None

    @classmethod
    def open(
        cls,
        model: Path | str,
        find: Callable[[str], Path | str] | None = None,
        files: Sequence[str] = PIPELINE_FILES,
    ) -> ModelFolder:
        """The folder at a path, or of a hub repository (fetched where it is not in the local hub cache), with
        its base.

        find: gives the place of a base that does not lie beside the folder, or raises `UnknownModel`. files:
        patterns of what is fetched. Raises `ModelRefused` for a base that is nowhere.
        """
        folder = cls._at(model, lambda repository: _fetch(repository, list(files)))
        base = folder.base_name()
        if base is None:
            return folder
        fetch = functools.partial(_fetch, patterns=list(PIPELINE_FILES))
        return replace(folder, base=cls._at(folder.locate(base, find), fetch))

    @classmethod
    def open_configuration(cls, model: Path | str) -> ModelFolder:
        """The folder at a path, or of a hub repository as far as it is in the local hub cache: nothing is
        fetched, and the weights may be missing. Raises `UnknownModel` where there is none.
        """
        return cls._at(model, _configuration)

    @classmethod
    def _at(cls, model: Path | str, find: Callable[[str], Path]) -> ModelFolder:
        path = Path(model)
        if path.is_dir():
            return cls(path.name, path)
        if isinstance(model, Path) or path.is_absolute() or str(model).count("/") != 1:
            raise UnknownModel(
                f"There is no model folder at {model}; give a folder in diffusers layout or a hub id."
            )
        return cls(str(model), find(str(model)))

    def locate(self, base: str, find: Callable[[str], Path | str] | None) -> Path | str:
        """Where the model lies that this one is built on; see `open`."""
        beside = self.path.parent / base
        if beside.is_dir():  # what it was trained on, rather than another one of that name
            return beside
        if find is not None:
            with suppress(UnknownModel):
                return find(base)
        raise ModelRefused(
            f"The model {self.name} is built on {base}, which is not here; put {base} beside it, or into a "
            "model folder."
        )

    def base_name(self) -> str | None:
        """What the folder calls the model that it is built on; None where it is whole."""
        base = self._about().get("base")
        if base is not None and (not isinstance(base, str) or not base):
            raise ModelRefused(f"{self.path / _ABOUT} names no model as its base; give a name, or a hub id.")
        return base

    def pipeline(self) -> str:
        """The name of the diffusers pipeline that the folder was saved from; a guess where it does not say.

        Raises `ModelRefused` where what says so cannot be read.
        """
        if (self.path / _INDEX).is_file():
            return str(_read_json(self.path / _INDEX, self.name).get("_class_name"))
        if not (self.path / "unet").is_dir():
            if (self.path / "motion_adapter").is_dir():
                return "AnimateDiffPipeline"
            config = self.path / "transformer" / "config.json"
            kind = self.config("transformer").get("_class_name") if config.is_file() else None
            return _TRANSFORMERS.get(str(kind), "transformer")
        moves = self.config("unet").get("_class_name") == "UNetMotionModel"
        moves = moves or (self.path / "motion_adapter").is_dir()
        return "AnimateDiffPipeline" if moves else "StableDiffusionPipeline"

    def place(self, component: str) -> Path:
        """Where a component lies, or would lie: in this folder, else in that of its base."""
        own = self.path / component
        return own if self.base is None or own.is_dir() else self.base.path / component

    def config(self, component: str, file: str = "config.json") -> dict[str, object]:
        """A component's configuration, as it stands in the folder."""
        return _read_json(self.place(component) / file, self.name)

    def defaults(self) -> dict[str, dict[str, ParameterValue]]:
        """The parameters per method that this model does best with: its `mattebox.json`, for methods that are
        not there its base's, and else its family's.
        """
        methods = self._about().get("methods")
        if not _are_defaults(methods):
            raise self._no_about()
        others = self.base.defaults() if self.base is not None else _OF_FAMILY.get(self.pipeline(), {})
        return {**others, **methods}

    def _about(self) -> dict[str, object]:
        file = self.path / _ABOUT
        if not file.exists():
            return {"version": 1, "methods": {}}
        content = _read_json(file, self.name)
        if content.get("version") != 1:
            raise self._no_about()
        return content

    def _no_about(self) -> ModelRefused:
        return ModelRefused(
            f"{self.path / _ABOUT} is not a version 1 file with methods; remove it to use the methods' "
            "defaults."
        )

    def variant(self, component: str) -> str | None:
        """The weights variant to load (`None` or `"fp16"`).

        Raises `ModelRefused` when the component has no safetensors.
        """
        folder = self.place(component)
        names = [file.name for file in sorted(folder.glob("*.safetensors"))]
        if not names:
            pickled = sorted(file.name for file in folder.glob("*.bin")) + sorted(
                file.name for file in folder.glob("*.ckpt")
            )
            if pickled:
                what = component or "weights"
                raise ModelRefused(
                    f"The model {self.name} holds its {what} as {pickled[0]}, a pickle that could run "
                    "any code; convert it to safetensors."
                )
            raise ModelRefused(
                f"The model {self.name} has no weights in {folder}; put the safetensors there."
            )
        return "fp16" if all(".fp16" in name for name in names) else None

    def identity(self, components: tuple[str, ...]) -> str:
        """SHA-256 (hex) of the configurations and weights of some components (empty: what lies in the folder
        itself).

        Files beyond 64 MiB count with their header, their size and 16 MiB spread over them: reading 4 GB
        takes longer than the edit that waits for it, and any training changes every part of a file.
        """
        digest = hashlib.sha256(b"mattebox-model-1")
        for component in components:
            for file in sorted(self.place(component).glob("*")):
                if file.suffix in (".json", ".txt", ".safetensors"):
                    digest.update(f"{component}/{file.name}:{file.stat().st_size};".encode())
                    for part in _content(file):
                        digest.update(part)
        return digest.hexdigest()


def _are_defaults(methods: object) -> TypeGuard[dict[str, dict[str, ParameterValue]]]:
    return isinstance(methods, dict) and all(
        isinstance(params, dict) and all(isinstance(value, ParameterValue) for value in params.values())
        for params in methods.values()
    )


def _content(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= _SAMPLED_FROM_BYTES:
            while part := stream.read(_SAMPLE_BYTES):
                yield part
            return
        for index in range(_SAMPLES):
            stream.seek(index * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
            yield stream.read(_SAMPLE_BYTES)


def _read_json(file: Path, model: str) -> dict[str, object]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelRefused(f"{file} is missing: {model} is no complete model in diffusers layout.") from None
    except (OSError, ValueError) as error:
        raise ModelRefused(f"{file} cannot be read ({error}); fetch the model again.") from error
    if not isinstance(content, dict):
        raise ModelRefused(f"{file} does not hold a JSON object; fetch the model again.")
    return content


def _cached(repository: str, patterns: list[str]) -> Path | None:
    """Where a repository lies in the hub's cache on this machine; None where it does not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, allow_patterns=patterns, local_files_only=True))
    except HFValidationError as error:
        raise UnknownModel(f"{repository!r} is neither a folder nor a hub id like owner/name.") from error
    except LocalEntryNotFoundError:
        return None


def _configuration(repository: str) -> Path:
    found = _cached(repository, list(PIPELINE_FILES))
    if found is None:
        raise UnknownModel(
            f"The model {repository} is not on this machine; for a plan its configuration is enough: fetch "
            f"it by `hf download {repository} --include '*.json' --local-dir FOLDER` and give the full path "
            "of FOLDER as the backbone."
        )
    return found


def _fetch(repository: str, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    found = _cached(repository, patterns)
    if found is not None:
        return found
    try:
        return Path(snapshot_download(repository, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UnknownModel(
            f"The model {repository} is not on this machine and cannot be fetched ({type(error).__name__}); "
            "check the name and the network, or give a folder."
        ) from error
