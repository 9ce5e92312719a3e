"""Suites of experiments, by the name that `--suite` takes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mattebox_backend.bench.experiments import Experiment
from mattebox_backend.bench.suite_mask_lora import MASK_LORA
from mattebox_backend.bench.suite_papers import PAPERS

SUITES: Final[Mapping[str, tuple[Experiment, ...]]] = MappingProxyType(
    {"papers": PAPERS, "mask-lora": MASK_LORA}
)
