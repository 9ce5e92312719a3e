"""The parameters of `st-modulator`, apart from its recipe so that listing them needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from mattebox_backend.methods.condition_parameters import ConditionParameters
from mattebox_backend.methods.parameters import choice, integer, number, switch


@dataclass(frozen=True, slots=True)
class StModulatorParameters(ConditionParameters):
    """What can be set; defaults are the paper's, for Stable Diffusion 1.5 (section 4.1)."""

    cross: bool = switch(True, "Steer cross attention: each region listens to its own words.")
    self_modulation: bool = switch(True, "Steer self attention: each region looks at itself, in every frame.")
    lambda_cross: float = number(1.0, 0.0, 1.0, "Strength of the steering of cross attention.")
    lambda_self: float = number(0.3, 0.0, 1.0, "Strength of the steering of self attention.")
    lambda_background: float = number(
        0.0,
        0.0,
        1.0,
        "How hard the background is pushed away from the regions' words, where cross attention is steered; "
        "0 leaves it alone.",
    )
    window: float = number(
        -2.35,
        -20.0,
        20.0,
        "Attention is steered while the noise level is at or below this log-SNR, as felt at 512×512; "
        "−2.35 is the paper's first 15 of 50 steps.",
        "log-SNR",
    )
    exponent: float = number(5.0, 0.0, 20.0, "The steering fades as t to this power; 0 is constant strength.")
    sizes: int = integer(
        2,
        1,
        8,
        "The finest attention that is steered: 2 stands for half the latents' side, and all coarser ones.",
        "latent cells",
        (1, 2, 4, 8),
    )
    special_tokens: str = choice(
        "negative",
        ("negative", "neutral"),
        "Start, end and padding of a prompt: pushed away like another region's words, or left alone.",
    )
    token_share: float = number(
        0.5,
        0.01,
        0.5,
        "The background leaves a token of attention to a region that covers at least this share of it.",
    )
    full_frame: bool = switch(True, "Every frame's self attention sees all frames; off: its own only.")
    blend: bool = switch(True, "Outside the regions, keep the latents on the source's inversion.")
