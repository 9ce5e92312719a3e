"""The parameters that every text-guided method takes; apart from the recipes so that listing them needs no
torch.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    feather: int = integer(0, 0, 1000, "The least feather of every region, outside its mask.", "pixels")
    boundary_smoothing: float = number(
        0.0,
        0.0,
        200.0,
        "Soften the edge of the regions over this length (√α of a diffusion equation), inside and, as far as "
        "the feather reaches, outside; 0 does not.",
        "pixels",
    )
    preserve: bool = switch(True, "Composite over the source, so that nothing outside the regions changes.")
    size: int = integer(
        0, 0, 4096, "Side of the square whose area the clip is worked at; 0 is the model's own.", "pixels"
    )
    focus: bool = switch(
        False, "Work on the part of the picture around the regions alone: less time and memory."
    )
    focus_margin: float = number(
        0.125, 0.0, 1.0, "What of the picture's longer side that part has around the regions, at least."
    )
