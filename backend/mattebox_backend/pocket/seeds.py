"""Ranges of scene seeds, so that what a model is measured on was never trained on; and a generator per
training step.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

VAE_SEEDS: Final = 0
DENOISER_SEEDS: Final = 100_000_000
MOTION_SEEDS: Final = 400_000_000
SCORE_SEEDS: Final = 600_000_000
WAN_SEEDS: Final = 800_000_000
MEASURE_SEEDS: Final = 2_000_000_000
BENCH_SEEDS: Final = 3_000_000_000


def step_generator(seed: int, stage: int, step: int) -> torch.Generator:
    """The noise of one step: a resumed run draws what an unbroken one would have drawn."""
    state = int(np.random.SeedSequence((seed, stage, step)).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state & (2**63 - 1))
