"""ST-Modulator, public name VideoGrain: layout-guided attention, zero-shot, on an image model run over
time.
"""

from __future__ import annotations

import torch

from mattebox_backend.attention import Reach
from mattebox_backend.controls.latent_blend import LatentBlend
from mattebox_backend.controls.layout_attention import LayoutAttention, LayoutStrength
from mattebox_backend.controls.reconstruction import RECONSTRUCTION_BRANCH
from mattebox_backend.controls.text_layout import TextLayout, lay_out_text
from mattebox_backend.diffusion.control import SOURCE_BRANCH, Control
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.methods.conditioning import conditioning
from mattebox_backend.methods.guiding import guidance
from mattebox_backend.methods.materials import Materials
from mattebox_backend.methods.st_modulator_parameters import StModulatorParameters


def st_modulator(materials: Materials, p: StModulatorParameters) -> torch.Tensor:
    """Edited clean latents (F, C, h, w) of the clip in `materials`.

    Section 3.3, figure 4:
      1. find each region's words in the global prompt τ_g;
      2. invert the source under its own prompt, and on request a ControlNet's condition e, and keep the
         whole trajectory;
      3. sample back down from the noisiest level, under τ_g (and e), with
         guidance                       e_u + s·(e_c − e_u); on request away from the source prompt at first
         layout-guided attention        eqs. 1–5, early on
         latent blend                   eq. 7, at every step.
    """
    words = lay_out_text(
        materials.backbone, materials.prompt, materials.regions.regions, words_alone=p.words_alone
    )
    controls: list[Control] = [*guidance(materials, p), layout_attention(words, p)]
    if p.blend:
        controls.append(LatentBlend())

    under_condition = conditioning(materials, p)
    denoiser = under_condition(Denoiser(materials.backbone, Reach.ALL if p.full_frame else Reach.OWN))
    source = materials.invert(denoiser, materials.source_prompt, steps=p.steps)
    return materials.sample(denoiser, words, source, controls)


def layout_attention(words: TextLayout, p: StModulatorParameters) -> LayoutAttention:
    """Eqs. 1–5. A branch under the source's prompt reads it unsteered: its words belong to no region."""
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
    return LayoutAttention(words, strength, other_texts=[SOURCE_BRANCH, RECONSTRUCTION_BRANCH])
