"""Custom: a mix of controls of one's own choice around the one sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mattebox_backend.attention import Reach
from mattebox_backend.controls.edit_mask import EditMask
from mattebox_backend.controls.guidance import GuidanceField
from mattebox_backend.controls.invariant_region import InvariantRegion
from mattebox_backend.controls.latent_blend import LatentBlend
from mattebox_backend.controls.preconditioner import Preconditioner
from mattebox_backend.controls.text_layout import TextLayout, lay_out_text
from mattebox_backend.diffusion.control import Control, SamplingPlan, Solver
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.tuning import TuningPlan
from mattebox_backend.methods.conditioning import conditioning
from mattebox_backend.methods.custom_parameters import CustomParameters, parse_controls
from mattebox_backend.methods.guiding import guidance
from mattebox_backend.methods.materials import Materials
from mattebox_backend.methods.reatco import re_attention
from mattebox_backend.methods.roi_aware import (
    blending_mask,
    mask_shape,
    region_bias,
    region_routing,
    rising_field,
)
from mattebox_backend.methods.st_modulator import layout_attention
from mattebox_backend.methods.videodirector import (
    begin_editing,
    cross_attention_control,
    self_attention_control,
)
from mattebox_backend.methods.windowing import windows


def custom(materials: Materials, p: CustomParameters) -> torch.Tensor:
    """Edited clean latents (F, C, h, w) of the clip in `materials`, under the controls that its edit lists.

    They act in the order given, but for those that others build on: the mask comes first, then guidance and
    the reconstruction; weights of steps and what holds the background come last.
    """
    chosen = parse_controls(materials.controls, p)
    words = lay_out_text(
        materials.backbone, materials.prompt, materials.regions.regions, words_alone=p.words_alone
    )
    under_condition = conditioning(materials, p)
    denoiser = Denoiser(materials.backbone, Reach(p.frames_seen), windows(p.window_frames, p.window_stride))
    if p.tuning_steps:
        tuning = TuningPlan(p.tuning_steps, p.tuning_rate)
        denoiser = materials.tuned(denoiser, materials.source_prompt, tuning)
    denoiser = under_condition(denoiser)

    mask = blended = None
    if "edit-mask" in chosen:
        shape = mask_shape(materials, p.boundary_smoothing, chosen["edit-mask"])
        mask = EditMask(shape)
        blended = blending_mask(mask, shape)
    steering = _attention(materials, words, chosen)  # what cannot be built is refused before the inversion
    field = _field(mask, chosen)
    if p.start == "noise":
        source = materials.noised(denoiser, steps=p.steps)
    else:
        source = materials.invert(denoiser, materials.source_prompt, steps=p.steps)

    controls: list[Control] = [mask] if mask is not None else []
    regions = materials.regions
    if "pivotal-inversion" in chosen:
        editing = begin_editing(materials, denoiser, source, p, chosen["pivotal-inversion"])
        regions = editing.regions
        controls += editing.controls()
    else:
        controls += guidance(materials, p, field)
    controls += steering
    if mask is not None and "preconditioner" in chosen:
        weights = chosen["preconditioner"]
        controls.append(Preconditioner(mask, weights.weight_inside, weights.weight_outside))
    if "latent-blend" in chosen:
        controls.append(LatentBlend(blended))
    if "invariant-region" in chosen:
        controls.append(InvariantRegion(blended))
    plan = SamplingPlan(Solver(p.solver), p.start_level)
    return materials.sample(denoiser, words, source, controls, plan, regions=regions)


def _field(mask: EditMask | None, chosen: dict[str, Any]) -> GuidanceField | None:
    return rising_field(mask, chosen["guidance-field"]) if mask and "guidance-field" in chosen else None


def _attention(materials: Materials, words: TextLayout, chosen: dict[str, Any]) -> list[Control]:
    """The controls that act on attention, in the order given."""
    build: dict[str, Callable[[Any], Control | None]] = {
        "layout-attention": lambda q: layout_attention(words, q),
        "re-attention": lambda q: re_attention(materials, words, q),
        "self-attention-control": self_attention_control,
        "cross-attention-control": lambda q: cross_attention_control(materials, words, q),
        "region-bias": region_bias,
        "region-routing": lambda q: region_routing(words, q),
    }
    built = (build[name](parameters) for name, parameters in chosen.items() if name in build)
    return [control for control in built if control is not None]
