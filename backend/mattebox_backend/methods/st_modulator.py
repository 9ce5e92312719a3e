"""ST-Modulator, public name VideoGrain: layout-guided attention, zero-shot, on an image model run over
time.
"""

from __future__ import annotations

import math

import torch

from mattebox_backend.controls.guidance import UNCONDITIONAL_BRANCH, ClassifierFreeGuidance
from mattebox_backend.controls.latent_blend import LatentBlend
from mattebox_backend.controls.layout_attention import LayoutAttention, LayoutStrength
from mattebox_backend.controls.text_layout import lay_out_text
from mattebox_backend.diffusion.control import SOURCE_BRANCH, Control
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.methods.materials import Materials
from mattebox_backend.methods.st_modulator_parameters import NEVER, StModulatorParameters


def st_modulator(materials: Materials, p: StModulatorParameters) -> torch.Tensor:
    """Edited clean latents (F, C, h, w) of the clip in `materials`.

    Section 3.3, figure 4:
      1. find each region's words in the global prompt τ_g;
      2. invert the source under its own prompt, and keep the whole trajectory;
      3. sample back down from the noisiest level, under τ_g, with
         guidance                       e_u + s·(e_c − e_u); on request away from the source prompt at first
         layout-guided attention        eqs. 1–5, early on
         latent blend                   eq. 7, at every step.
    """
    words = lay_out_text(
        materials.backbone, materials.prompt, materials.regions.regions, words_alone=p.words_alone
    )
    negative = materials.backbone.embed(p.negative_prompt)
    was = materials.backbone.embed(materials.source_prompt)
    turn = _end_of_source_guidance(materials.source_prompt, p)

    denoiser = Denoiser(materials.backbone, p.full_frame)
    source = materials.invert(denoiser, materials.source_prompt, steps=p.steps)

    strength = LayoutStrength(
        cross=p.lambda_cross if p.cross else 0.0,
        self_=p.lambda_self if p.self_modulation else 0.0,
        background=p.lambda_background,
        window=p.window,
        exponent=p.exponent,
        smallest_reduction=p.sizes,
        neutral_specials=p.special_tokens == "neutral",
        token_share=p.token_share,
    )
    controls: list[Control] = [
        ClassifierFreeGuidance(SOURCE_BRANCH, was.states, p.source_guidance, until=turn),
        ClassifierFreeGuidance(
            UNCONDITIONAL_BRANCH,
            negative.states,
            p.guidance,
            above=turn,
            until=p.guidance_window,
        ),
        LayoutAttention(words, strength, other_texts=[SOURCE_BRANCH]),
    ]
    if p.blend:
        controls.append(LatentBlend())

    return materials.sample(denoiser, words.states, source, controls)


def _end_of_source_guidance(source_prompt: str, p: StModulatorParameters) -> float:
    """The log-SNR up to which guidance points away from the source prompt; −∞ where it never does."""
    if not source_prompt.strip() or p.source_guidance == 1 or p.source_window == NEVER:
        return -math.inf
    return min(p.source_window, p.guidance_window)
