"""Training state on disk as safetensors: modules, averaged weights, the optimizers' moments, and the step;
written atomically, never pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mattebox_proto.atomic_file import replacing
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mattebox_backend.diffusion.optimizer_state import optimizer_tensors, restore_optimizer
from mattebox_backend.pocket.errors import UnusableCheckpoint


def write_atomically(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` so that a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(data)


def write_checkpoint(
    path: Path,
    step: int,
    fingerprint: str,
    modules: Mapping[str, nn.Module],
    optimizers: Sequence[torch.optim.Optimizer],
    average: Mapping[str, Tensor] | None = None,
) -> None:
    """Save everything that the next step needs. ``fingerprint`` names the configuration that the state
    belongs to.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"module.{name}.{key}": value for key, value in module.state_dict().items()}
    for place, optimizer in enumerate(optimizers):
        state = optimizer_tensors(optimizer)
        tensors |= {f"optimizer.{place}.{key}": value for key, value in state.items()}
    tensors |= {f"average.{key}": value for key, value in (average or {}).items()}
    metadata = {"step": str(step), "fingerprint": fingerprint}
    # Copies, since the format refuses two names for one memory and a UMT5 encoder has two for its embedding.
    copies = {
        key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()
    }
    write_atomically(path, save(copies, metadata))


def read_checkpoint(
    path: Path,
    fingerprint: str,
    modules: Mapping[str, nn.Module],
    optimizers: Sequence[torch.optim.Optimizer],
    average: dict[str, Tensor] | None = None,
) -> int:
    """Load what :func:`write_checkpoint` saved into the given objects and return its step; 0 when there is no
    file.
    """
    if not path.exists():
        return 0
    metadata, tensors = _read(path, fingerprint)
    for name, module in modules.items():
        module.load_state_dict(_under(tensors, f"module.{name}."))
    for place, optimizer in enumerate(optimizers):
        restore_optimizer(optimizer, _under(tensors, f"optimizer.{place}."))
    if average is not None:
        average.update(_under(tensors, "average."))
    return int(metadata["step"])


def read_average(path: Path, fingerprint: str) -> dict[str, Tensor]:
    """The averaged weights in the checkpoint at ``path``."""
    return _under(_read(path, fingerprint)[1], "average.")


def fingerprint(*values: object) -> str:
    """Canonical text of configuration values (JSON)."""
    return json.dumps(values, sort_keys=True, default=str)


def _read(path: Path, fingerprint: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except FileNotFoundError as error:
        raise UnusableCheckpoint(
            f"The checkpoint {path} is gone; put it back, or use another work folder to start over."
        ) from error
    except SafetensorError as error:
        raise UnusableCheckpoint(
            f"The checkpoint {path} is damaged ({error}); delete it to start over."
        ) from error
    if metadata.get("fingerprint") != fingerprint:
        raise UnusableCheckpoint(
            f"The checkpoint {path} belongs to another configuration; "
            "restore that configuration or use another work folder."
        )
    return metadata, tensors


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
