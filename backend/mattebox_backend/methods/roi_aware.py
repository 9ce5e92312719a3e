"""Region-of-interest-aware diffusion: the mask takes part in every step of sampling, on any backbone."""

from __future__ import annotations

import torch

from mattebox_backend.attention import Reach
from mattebox_backend.controls.edit_mask import EditMask, MaskShape
from mattebox_backend.controls.guidance import GuidanceField
from mattebox_backend.controls.invariant_region import InvariantRegion
from mattebox_backend.controls.latent_blend import LatentBlend
from mattebox_backend.controls.mask_evolution import MaskEvolution
from mattebox_backend.controls.preconditioner import Preconditioner
from mattebox_backend.controls.region_bias import BiasStrength, RegionBias
from mattebox_backend.controls.region_conditioning import RegionConditioning
from mattebox_backend.controls.region_routing import RegionRouting
from mattebox_backend.controls.text_layout import TextLayout, lay_out_text
from mattebox_backend.diffusion.control import Control, SamplingPlan, Solver
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.methods.guiding import guidance
from mattebox_backend.methods.materials import Materials
from mattebox_backend.methods.roi_aware_parameters import RoiAwareParameters
from mattebox_backend.methods.windowing import windows


def roi_aware(materials: Materials, p: RoiAwareParameters) -> torch.Tensor:
    """Edited clean latents (F, C, h, w) of the clip in `materials`.

    Sections 3 to 5, figures 1, 4 and 6:
      1. soften the mask's boundary                eqs. 4.11, 4.12
      2. invert the source, or put it under noise  eq. 5.18
      3. sample back down, by Euler or Heun        eqs. 5.11–5.16, with
         the mask shown to a model that reads it   eqs. 3.1–3.4
         self attention biased by region           eq. 3.6, on the mask pyramid (3.12)
         cross attention routed to words           eq. 3.9
         a mask that moves with the edit           eq. 4.13
         guidance over a field that rises          eqs. 4.4, 5.17
         steps weighted by region                  eq. 3.11
         the background held to the source         eqs. 2.6, 4.2.

    Not integrated, none of these knows the mask: the whole picture is edited, and the composite alone blends
    (eq. 6.6).
    """
    words = lay_out_text(
        materials.backbone, materials.prompt, materials.regions.regions, words_alone=p.words_alone
    )
    controls = _region_aware(materials, words, p) if p.integrated else guidance(materials, p)
    denoiser = Denoiser(materials.backbone, Reach(p.frames_seen), windows(p.window_frames, p.window_stride))
    if p.start == "noise":
        source = materials.noised(denoiser, steps=p.steps)
    else:
        source = materials.invert(denoiser, materials.source_prompt, steps=p.steps)
    plan = SamplingPlan(Solver(p.solver), p.start_level)
    return materials.sample(denoiser, words, source, controls, plan)


def _region_aware(materials: Materials, words: TextLayout, p: RoiAwareParameters) -> list[Control]:
    """The controls in the order in which a step needs them: the mask before all that read it, weights before
    the background is set.
    """
    if p.outside == "inversion" and p.start == "noise":
        raise InvalidEdit(
            "The background cannot be held to an inversion that is not made: with start = 'noise' set "
            "outside to 'noise' or 'free'."
        )
    shape = mask_shape(materials, p.boundary_smoothing, p)
    mask = EditMask(shape)
    field = rising_field(mask, p)
    controls: list[Control] = [
        mask,
        RegionConditioning(words, mask),
        region_bias(p),
        region_routing(words, p),
        *guidance(materials, p, field if p.guidance_field else None),
        Preconditioner(mask, p.weight_inside, p.weight_outside),
    ]
    blended = blending_mask(mask, shape)
    if p.outside == "inversion":
        controls.append(LatentBlend(blended))
    elif p.outside == "noise":
        controls.append(InvariantRegion(blended))
    return controls


def mask_shape(materials: Materials, smoothing: float, p: RoiAwareParameters) -> MaskShape:
    """Eqs. 4.12 and 4.13; smoothing: in pixels of the clip."""
    evolution = MaskEvolution(p.mask_reach, p.mask_agreement, p.mask_conflict) if p.mask_reach else None
    return MaskShape(smoothing / materials.pixels_per_cell, evolution)


def blending_mask(mask: EditMask, shape: MaskShape) -> EditMask | None:
    """What the background is blended by. A mask with its own edge frees every cell that it touches (None):
    the composite has the finer edge.
    """
    return None if shape == MaskShape() else mask


def rising_field(mask: EditMask, p: RoiAwareParameters) -> GuidanceField:
    """Eqs. 4.4 and 5.17. Raises `InvalidEdit` for a rise that falls."""
    if p.guidance_rises_from > p.guidance_rises_to:
        raise InvalidEdit(
            f"Guidance cannot rise from log-SNR {p.guidance_rises_from:g} to {p.guidance_rises_to:g}: give a "
            "guidance_rises_to that is not below guidance_rises_from."
        )
    rise = (p.guidance_rises_from, p.guidance_rises_to)
    return GuidanceField(mask, p.guidance_outside, p.guidance_share, rise)


def region_bias(p: RoiAwareParameters) -> RegionBias:
    """Eq. 3.6."""
    strength = BiasStrength(p.self_inside, p.self_outwards, p.self_inwards)
    return RegionBias(strength, p.attention_window, p.attention_sizes)


def region_routing(words: TextLayout, p: RoiAwareParameters) -> RegionRouting:
    """Eq. 3.9."""
    return RegionRouting(words, p.routing, p.attention_window, p.attention_sizes)
