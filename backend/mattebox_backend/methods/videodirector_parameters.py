"""The parameters of `videodirector`, apart from its recipe so that listing them needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from mattebox_backend.methods.frame_parameters import window_frames, window_stride
from mattebox_backend.methods.parameters import choice, integer, number, switch, text
from mattebox_backend.methods.sampling_parameters import SamplingParameters


@dataclass(frozen=True, slots=True)
class VideoDirectorParameters(SamplingParameters):
    """What can be set; defaults are the paper's, for AnimateDiff on Stable Diffusion 1.5 (section 4)."""

    inner_steps: int = integer(
        10, 0, 100, "Steps that fit the empty prompt's embedding, at most, per noise level.", "steps"
    )
    inner_rate: float = number(1e-2, 1e-5, 1.0, "Learning rate of that fit at the first level.")
    multi_frame: bool = switch(True, "An embedding of the empty prompt for every frame; off: one for all.")
    decoupled: bool = switch(True, "Hold attention over time, and the look of what stays, to the source's.")
    temporal_inside: float = number(
        0.5, 0.0, 100.0, "Guidance of attention over time in the edited part (η_f)."
    )
    temporal_outside: float = number(
        0.5, 0.0, 100.0, "Guidance of attention over time elsewhere (η_b; the paper: 0.2 to 0.8)."
    )
    appearance_inside: float = number(0.0, 0.0, 100.0, "Guidance of the look of the edited part (ζ_f).")
    appearance_outside: float = number(0.5, 0.0, 100.0, "Guidance of the look of all else (ζ_b).")
    edited: str = choice(
        "foreground",
        ("foreground", "background"),
        "What the regions are: an edited background swaps the guidance of inside and outside.",
    )
    self_first: bool = switch(True, "SA-I: early on, the edit attends as the reconstruction does.")
    self_second: bool = switch(True, "SA-II: then it also looks at the reconstruction outside the regions.")
    self_window: float = number(
        -2.0,
        -20.0,
        20.0,
        "SA-I lasts while the noise level is at or below this log-SNR, as felt at 512×512; −2 is τ_s = 0.35.",
        "log-SNR",
    )
    cross_control: str = choice(
        "auto",
        ("auto", "refine", "replace", "off"),
        "Words shared with the source keep its maps (refine), or each word that of the word in its place "
        "(replace); auto replaces where both prompts have equally many tokens.",
    )
    cross_window: float = number(
        1.3,
        -20.0,
        20.0,
        "That lasts while the noise level is at or below this log-SNR, as felt at 512×512; 1.3 is τ_c = 0.8.",
        "log-SNR",
    )
    emphasis: str = text(
        "", "Words of the prompt and what their maps are multiplied by: “green=2, circle=0.5”."
    )
    ellipse: bool = switch(
        True, "Regions in union with the ellipses that fit them, for guidance and attention."
    )
    checkpointing: bool = switch(True, "Keep little of a gradient's graph and compute the rest again.")
    window_frames: int = window_frames(16)
    window_stride: int = window_stride()
