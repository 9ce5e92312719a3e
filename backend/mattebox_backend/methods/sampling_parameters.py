"""The parameters that every text-guided method takes; apart from the recipes so that listing them needs no
torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from mattebox_backend.methods import picture_parameters as picture
from mattebox_backend.methods.parameters import integer, number, switch, text

NEVER = -20.0
"""A noise level below all others, in log-SNR."""


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """Noise levels, guidance, prompts, and what is done with the frames that come out."""

    steps: int = integer(50, 1, 1000, "Noise levels of inversion and sampling alike.", "steps")
    guidance: float = number(7.5, 1.0, 50.0, "Classifier-free guidance scale; 1 is none.")
    guidance_window: float = number(
        20.0,
        -20.0,
        20.0,
        "Guidance is applied while the noise level is at or below this log-SNR, as felt at 512×512; later "
        "steps go without it and cost half.",
        "log-SNR",
    )
    negative_prompt: str = text("", "What the guidance points away from.")
    source_guidance: float = number(
        7.5, 1.0, 50.0, "Scale of the guidance away from the source prompt, in its window; 1 turns it off."
    )
    source_window: float = number(
        NEVER,
        NEVER,
        20.0,
        "While the noise level is at or below this log-SNR, as felt at 512×512, guidance points away from "
        "the source prompt instead of the negative one, so that what was there gives way; −20 is never.",
        "log-SNR",
    )
    words_alone: bool = switch(
        True, "Encode every region's prompt alone, so that it says nothing of the others."
    )
    feather: int = picture.feather()
    boundary_smoothing: float = picture.boundary_smoothing()
    preserve: bool = picture.preserve()
    size: int = picture.size()
    focus: bool = picture.focus()
    focus_margin: float = picture.focus_margin()
