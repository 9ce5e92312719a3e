"""The parameters of `roi-aware`, apart from its recipe so that listing them needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from mattebox_backend.methods.frame_parameters import frames_seen, window_frames, window_stride
from mattebox_backend.methods.parameters import choice, integer, number, switch
from mattebox_backend.methods.sampling_parameters import NEVER, SamplingParameters


@dataclass(frozen=True, slots=True)
class RoiAwareParameters(SamplingParameters):
    """What can be set. The paper gives no numbers: what it leaves open is off, or changes nothing, until it
    is set; a model's own `mattebox.json` knows what it does best with.
    """

    integrated: bool = switch(
        True,
        "Let the regions take part in sampling; off: edit the whole picture and only blend at the end, the "
        "baseline (eq. 6.6).",
    )
    guidance_field: bool = switch(
        True, "Guide inside the regions, and follow the prediction that guidance leads away from outside."
    )
    guidance_outside: float = number(0.0, 0.0, 50.0, "Guidance scale outside the regions; 0 is unguided.")
    guidance_share: float = number(
        1.0, 0.0, 1.0, "What of the guidance's scale it begins with, at the noisiest levels; 1 is constant."
    )
    guidance_rises_from: float = number(
        -4.0, -20.0, 20.0, "The log-SNR, as felt at 512×512, at which guidance begins to rise.", "log-SNR"
    )
    guidance_rises_to: float = number(
        0.0,
        -20.0,
        20.0,
        "The log-SNR at which guidance has risen to all of its scale; equal to the level before it, guidance "
        "has two phases.",
        "log-SNR",
    )
    self_inside: float = number(
        0.0, -50.0, 50.0, "Added to self attention where the regions look at themselves (γ)."
    )
    self_outwards: float = number(
        0.0, -50.0, 50.0, "Added to self attention where the regions look at the background (δ)."
    )
    self_inwards: float = number(
        0.0, -50.0, 50.0, "Added to self attention where the background looks at the regions (η)."
    )
    routing: float = number(
        0.0, -50.0, 50.0, "Added to cross attention where a region listens to its own words (ρ)."
    )
    attention_window: float = number(
        20.0,
        -20.0,
        20.0,
        "Attention is changed while the noise level is at or below this log-SNR, as felt at 512×512.",
        "log-SNR",
    )
    attention_sizes: int = integer(
        1,
        1,
        8,
        "The finest attention that is changed: 2 stands for half the latents' side, and all coarser ones.",
        "latent cells",
        (1, 2, 4, 8),
    )
    weight_inside: float = number(1.0, 0.0, 4.0, "How far a step goes inside the regions; 1 is as sampled.")
    weight_outside: float = number(1.0, 0.0, 4.0, "How far a step goes outside them; 1 is as sampled.")
    mask_reach: int = integer(
        0, 0, 16, "How far the regions may grow or shrink while sampling; 0 keeps them.", "latent cells"
    )
    mask_agreement: float = number(
        0.25,
        0.0,
        100.0,
        "A cell beside a region joins it where the edit differs by at most so many standard deviations from "
        "the source.",
    )
    mask_conflict: float = number(
        1.5, 0.0, 100.0, "A cell at a region's edge leaves it where the edit beside it differs by so many."
    )
    outside: str = choice(
        "inversion",
        ("inversion", "noise", "free"),
        "What the latents outside the regions are held to at every level: the source's inversion, the source "
        "under noise, or nothing.",
    )
    start: str = choice(
        "inversion",
        ("inversion", "noise"),
        "What sampling begins with: the source's inversion, or the source under noise, which costs nothing.",
    )
    start_level: float = number(
        NEVER,
        NEVER,
        20.0,
        "Sampling begins at the first level with at least this log-SNR, as felt at 512×512; −20 is the "
        "noisiest.",
        "log-SNR",
    )
    solver: str = choice(
        "euler",
        ("euler", "heun"),
        "How a step follows the prediction: DDIM, or a method of second order with two predictions a step.",
    )
    frames_seen: str = frames_seen()
    window_frames: int = window_frames()
    window_stride: int = window_stride()
