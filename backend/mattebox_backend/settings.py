"""The backend's settings and folders: `backend.toml` in the config folder, every mistake in it named."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mattebox_proto.limits import MAX_MESSAGE_BYTES
from mattebox_proto.paths import Folders
from pydantic import BaseModel, ByteSize, ConfigDict, Field, ValidationError

from mattebox_backend.errors import InvalidSettings

FILE_NAME = "backend.toml"


class Settings(BaseModel):
    """What `backend.toml` may hold. Sizes are bytes, or text such as "10 GiB"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N or mps"
    )
    cache_limit: ByteSize = Field(
        default=ByteSize(10 << 30), ge=0, description="of inversions and uploads together"
    )
    upload_limit: ByteSize = Field(default=ByteSize(20 << 30), gt=0, description="of one uploaded clip")
    mask_limit: ByteSize = Field(
        default=ByteSize(16 << 30), gt=0, description="of one edit's masks, unpacked"
    )
    queue_limit: int = Field(default=1000, gt=0, description="jobs that wait or run")
    message_limit: ByteSize = Field(
        default=ByteSize(MAX_MESSAGE_BYTES), ge=4 << 20, description="of one gRPC message"
    )
    model_folders: tuple[Path, ...] = Field(
        default=(), description="folders that hold models in diffusers layout"
    )
    threads: int = Field(default=0, ge=0, description="CPU threads of a render; 0: as many as torch chooses")

    def on_device(self, device: str) -> Self:
        """The same on another device. Raises InvalidSettings for one that there cannot be."""
        try:
            return self.model_validate({**self.model_dump(), "device": device})
        except ValidationError as error:
            raise InvalidSettings(
                f"The device “{device}” is unknown; use auto, cpu, cuda, cuda:N or mps."
            ) from error


@dataclass(frozen=True, slots=True)
class Storage:
    """Where the backend keeps things, under the platform's folders."""

    folders: Folders

    @property
    def database(self) -> Path:
        return self.folders.data / "jobs.db"

    @property
    def takes(self) -> Path:
        return self.folders.data / "takes"

    @property
    def inversions(self) -> Path:
        return self.folders.cache / "inversions"

    @property
    def adapters(self) -> Path:
        return self.folders.data / "adapters"

    @property
    def uploads(self) -> Path:
        return self.folders.cache / "uploads"

    @property
    def checkpoints(self) -> Path:
        return self.folders.cache / "checkpoints"

    @property
    def job_logs(self) -> Path:
        return self.folders.log / "jobs"

    def checkpoint(self, job: str) -> Path:
        return self.checkpoints / job

    def job_log(self, job: str) -> Path:
        return self.job_logs / f"{job}.log"


def load_settings(folders: Folders) -> Settings:
    """Reads `backend.toml`; the defaults where there is none. Raises InvalidSettings."""
    path = folders.config / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"The settings {path} cannot be read: {error}.") from error
    try:
        return Settings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"The settings {path} are no valid TOML: {error}.") from error
    except ValidationError as error:
        raise InvalidSettings(f"The settings {path} cannot be used: {_faults(error)}.") from error


def _faults(error: ValidationError) -> str:
    sentences = []
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            known = ", ".join(sorted(Settings.model_fields))
            sentences.append(f"“{key}” is unknown (known: {known})")
        else:
            sentences.append(f"{key} = {fault['input']!r}: {fault['msg'][:1].lower()}{fault['msg'][1:]}")
    return "; ".join(sentences)
