"""VideoDirector: editing on a text-to-video model, from a pivotal inversion of the source."""

from __future__ import annotations

import dataclasses

import torch

from mattebox_backend.attention import Reach
from mattebox_backend.controls.decoupled_guidance import DecoupledGuidance, GuidanceWeights, HeldGuidance
from mattebox_backend.controls.emphasis import parse_emphasis
from mattebox_backend.controls.guidance import UNCONDITIONAL_BRANCH, ClassifierFreeGuidance
from mattebox_backend.controls.prompt_to_prompt import (
    CrossAttentionControl,
    WordMapping,
    refine,
    replace,
    reweigh,
)
from mattebox_backend.controls.reconstruction import RECONSTRUCTION_BRANCH, Reconstruction
from mattebox_backend.controls.self_attention import SelfAttentionControl, SelfAttentionPlan
from mattebox_backend.controls.text_layout import TextLayout, lay_out_text
from mattebox_backend.diffusion.control import EDIT_BRANCH, Control
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.pivotal import NULL_BRANCH, PivotalPlan
from mattebox_backend.edit import MaskMode
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.masks import stack_regions
from mattebox_backend.methods.materials import Materials
from mattebox_backend.methods.videodirector_parameters import VideoDirectorParameters
from mattebox_backend.methods.windowing import windows


def videodirector(materials: Materials, p: VideoDirectorParameters) -> torch.Tensor:
    """Edited clean latents (F, C, h, w) of the clip in `materials`.

    Algorithm I:
      stage 1, pivotal inversion: DDIM inversion under the source's prompt; then, level by level, decoupled
               guidance (eqs. 2–5) and embeddings of the empty prompt that lead back to the source;
      stage 2, editing: the reconstruction and the edit run side by side, with
               guidance                  e_φ + s·(e_c − e_φ), φ of stage 1
               self-attention control    eq. 6: SA-I, then SA-II
               cross-attention control   eq. 7: refine, replace, reweight
               decoupled guidance        the scores of stage 1.
    """
    backbone = materials.backbone
    words = lay_out_text(backbone, materials.prompt, materials.regions.regions, words_alone=p.words_alone)
    source = backbone.embed(materials.source_prompt)
    backbone.embed(p.negative_prompt)  # rather refused now than after the inversion
    mapping = _word_mapping(materials, words, p)
    regions = materials.regions
    if p.ellipse:
        covered = [dataclasses.replace(region, mode=MaskMode.ELLIPSE) for region in regions.regions]
        regions = stack_regions(covered)
    weights = GuidanceWeights(0, 0, 0, 0)
    if p.decoupled:
        weights = GuidanceWeights(
            p.temporal_inside, p.temporal_outside, p.appearance_inside, p.appearance_outside
        )
    if p.edited == "background":
        weights = weights.swapped()

    denoiser = Denoiser(backbone, Reach.OWN, windows(p.window_frames, p.window_stride))
    trajectory = materials.invert(denoiser, materials.source_prompt, steps=p.steps)
    conditional = DecoupledGuidance(denoiser, source.states, regions, weights, checkpointing=p.checkpointing)
    plan = PivotalPlan(p.inner_steps, p.inner_rate, p.multi_frame, p.guidance, p.guidance_window)
    pivots = materials.pivots(
        denoiser, trajectory, p.negative_prompt, plan, conditional, conditional.identity()
    )

    reconstruction = Reconstruction(pivots, source.states, p.guidance, until=p.guidance_window)
    references = {EDIT_BRANCH: RECONSTRUCTION_BRANCH, UNCONDITIONAL_BRANCH: NULL_BRANCH}
    controls: list[Control] = [
        ClassifierFreeGuidance(
            UNCONDITIONAL_BRANCH, reconstruction.embeddings, p.guidance, until=p.guidance_window
        ),
        reconstruction,
        SelfAttentionControl(SelfAttentionPlan(p.self_window, p.self_first, p.self_second), references),
        HeldGuidance(pivots),
    ]
    if mapping is not None:
        controls.append(
            CrossAttentionControl(mapping, {EDIT_BRANCH: RECONSTRUCTION_BRANCH}, until=p.cross_window)
        )
    return materials.sample(denoiser, words, trajectory, controls, regions=regions)


def _word_mapping(materials: Materials, words: TextLayout, p: VideoDirectorParameters) -> WordMapping | None:
    """How the edit's words take the source's maps; None where they do not."""
    backbone = materials.backbone
    weights = parse_emphasis(backbone, words.prompt, p.emphasis)
    first = backbone.embed(materials.source_prompt).first
    if p.cross_control == "off":
        return reweigh(words.length, first, weights) if weights else None
    before, after = backbone.tokens(materials.source_prompt), backbone.tokens(words.prompt)
    as_long = len(before) == len(after)
    if p.cross_control == "replace" and not as_long:
        raise InvalidEdit(
            f"To replace word by word both prompts must have equally many tokens; the source's has "
            f"{len(before)} and the edit's {len(after)}. Set cross_control to refine."
        )
    if p.cross_control == "refine" or not as_long:
        return refine(before, after, words.length, first, weights)
    return replace(before, after, words.length, first, weights)
