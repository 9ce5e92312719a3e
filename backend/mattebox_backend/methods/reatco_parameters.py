"""The parameters of `reatco`, apart from its recipe so that listing them needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from mattebox_backend.methods.condition_parameters import ConditionParameters
from mattebox_backend.methods.frame_parameters import frames_seen, window_frames, window_stride
from mattebox_backend.methods.parameters import integer, number, switch

REFINEMENT_THRESHOLDS = ((-20.0, 0.05), (-3.09, 0.5), (-1.52, 0.8))
"""(log-SNR, threshold): the public code's steps 0, 10 and 20 of 50, as noise levels."""


@dataclass(frozen=True, slots=True)
class ReAtCoParameters(ConditionParameters):
    """What can be set; defaults are the paper's and its public code's, for Stable Diffusion 1.5."""

    reattention: bool = switch(True, "Move the latents until each region's words draw attention inside it.")
    invariant: bool = switch(True, "Outside the regions, every noise level holds the source under noise.")
    step_size: float = number(20.0, 0.0, 1000.0, "How far an update moves the latents down the gradient.")
    top_share: float = number(
        0.2, 0.01, 1.0, "The share of a region's tokens that count, those with the highest response (K)."
    )
    window: float = number(
        -0.9,
        -20.0,
        20.0,
        "The latents are moved while the noise level is at or below this log-SNR, as felt at 512×512; "
        "−0.9 is the paper's first half of the steps.",
        "log-SNR",
    )
    refinements: int = integer(
        20, 0, 200, "Further updates, at most, at the three levels where a response is demanded.", "updates"
    )
    map_reduction: int = integer(
        4, 1, 8, "The attention that is read: 4 stands for a quarter of the latents' side.", "", (1, 2, 4, 8)
    )
    checkpointing: bool = switch(True, "Keep little of an update's graph and compute the rest again.")
    frames_seen: str = frames_seen()
    tuning_steps: int = integer(
        0,
        0,
        5000,
        "Train a copy of the model on the clip first (Tune-A-Video; 200 to 500); 0 does not.",
        "steps",
    )
    tuning_rate: float = number(3e-5, 1e-7, 1e-2, "Learning rate of that training.")
    window_frames: int = window_frames()
    window_stride: int = window_stride()
