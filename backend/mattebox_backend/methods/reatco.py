"""ReAtCo: re-attentional diffusion and invariant-region sampling, on any backbone with cross attention."""

from __future__ import annotations

import torch

from mattebox_backend.attention import Reach
from mattebox_backend.controls.invariant_region import InvariantRegion
from mattebox_backend.controls.reattention import ReAttention, ReAttentionSchedule, readable_sites
from mattebox_backend.controls.text_layout import TextLayout, lay_out_text
from mattebox_backend.diffusion.control import Control
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.tuning import TuningPlan
from mattebox_backend.methods.conditioning import conditioning
from mattebox_backend.methods.guiding import guidance
from mattebox_backend.methods.materials import Materials
from mattebox_backend.methods.reatco_parameters import REFINEMENT_THRESHOLDS, ReAtCoParameters
from mattebox_backend.methods.windowing import windows


def reatco(materials: Materials, p: ReAtCoParameters) -> torch.Tensor:
    """Edited clean latents (F, C, h, w) of the clip in `materials`.

    Section "Method", figure 2:
      1. on request tune a copy of the model on the source (Tune-A-Video, the paper's base);
      2. invert the source under its own prompt;
      3. sample back down from the noisiest level, under the edit's prompt, with
         guidance                   e_u + s·(e_c − e_u)
         re-attention (RAD)         eqs. 2–7, before the steps of the first half
         invariant region (IRJS)    eq. 8, after every step.
    """
    words = lay_out_text(
        materials.backbone, materials.prompt, materials.regions.regions, words_alone=p.words_alone
    )
    under_condition = conditioning(materials, p)
    controls: list[Control] = guidance(materials, p)
    if p.reattention:
        controls.append(re_attention(materials, words, p))
    if p.invariant:
        controls.append(InvariantRegion())

    denoiser = Denoiser(materials.backbone, Reach(p.frames_seen), windows(p.window_frames, p.window_stride))
    if p.tuning_steps:
        plan = TuningPlan(p.tuning_steps, p.tuning_rate)
        denoiser = materials.tuned(denoiser, materials.source_prompt, plan)
    denoiser = under_condition(denoiser)
    source = materials.invert(denoiser, materials.source_prompt, steps=p.steps)
    return materials.sample(denoiser, words, source, controls)


def re_attention(materials: Materials, words: TextLayout, p: ReAtCoParameters) -> ReAttention:
    """RAD (eqs. 2–7). Raises `InvalidEdit` where the backbone has no attention of the size to be read."""
    readable_sites(materials.backbone, p.map_reduction)
    schedule = ReAttentionSchedule(
        step_size=p.step_size,
        share=p.top_share,
        window=p.window,
        thresholds=REFINEMENT_THRESHOLDS,
        refinements=p.refinements,
        reduction=p.map_reduction,
        checkpointing=p.checkpointing,
    )
    return ReAttention(words, schedule)
