"""Guidance as every text-guided recipe has it: away from the source prompt at first, then from the negative
one.
"""

from __future__ import annotations

import math

from mattebox_backend.controls.guidance import UNCONDITIONAL_BRANCH, ClassifierFreeGuidance, GuidanceField
from mattebox_backend.diffusion.control import SOURCE_BRANCH, Control
from mattebox_backend.methods.materials import Materials
from mattebox_backend.methods.sampling_parameters import NEVER, SamplingParameters


def guidance(
    materials: Materials, p: SamplingParameters, field: GuidanceField | None = None
) -> list[Control]:
    """The two guidances of `p`, over a field where one is given; of a window that is empty, none has an
    effect.
    """
    negative = materials.backbone.embed(p.negative_prompt)
    was = materials.backbone.embed(materials.source_prompt)
    turn = _end_of_source_guidance(materials.source_prompt, p)
    return [
        ClassifierFreeGuidance(SOURCE_BRANCH, was.states, p.source_guidance, until=turn, field=field),
        ClassifierFreeGuidance(
            UNCONDITIONAL_BRANCH,
            negative.states,
            p.guidance,
            above=turn,
            until=p.guidance_window,
            field=field,
        ),
    ]


def _end_of_source_guidance(source_prompt: str, p: SamplingParameters) -> float:
    """The log-SNR up to which guidance points away from the source prompt; −∞ where it never does."""
    if not source_prompt.strip() or p.source_guidance == 1 or p.source_window == NEVER:
        return -math.inf
    return min(p.source_window, p.guidance_window)
