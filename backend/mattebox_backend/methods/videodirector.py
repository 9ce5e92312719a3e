"""VideoDirector: editing on a text-to-video model, from a pivotal inversion of the source."""

from __future__ import annotations

from dataclasses import dataclass

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
from mattebox_backend.diffusion.pivots import Pivots
from mattebox_backend.diffusion.trajectory import Trajectory
from mattebox_backend.edit import MaskMode
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.masks import RegionStack, reshape_regions
from mattebox_backend.methods.materials import Materials
from mattebox_backend.methods.sampling_parameters import SamplingParameters
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
    words = lay_out_text(
        materials.backbone, materials.prompt, materials.regions.regions, words_alone=p.words_alone
    )
    materials.backbone.embed(p.negative_prompt)  # rather refused now than after the inversion
    cross = cross_attention_control(materials, words, p)

    denoiser = Denoiser(materials.backbone, Reach.OWN, windows(p.window_frames, p.window_stride))
    trajectory = materials.invert(denoiser, materials.source_prompt, steps=p.steps)
    editing = begin_editing(materials, denoiser, trajectory, p, p)
    controls: list[Control] = [*editing.controls(), self_attention_control(p)]
    if cross is not None:
        controls.append(cross)
    return materials.sample(denoiser, words, trajectory, controls, regions=editing.regions)


@dataclass(frozen=True, slots=True, eq=False)
class Editing:
    """What stage 1 leaves to stage 2. text: (L, C), states of the source's prompt. regions: as the controls
    are to see them. scale, until: of guidance, up to a log-SNR as felt at 512².
    """

    pivots: Pivots
    text: torch.Tensor
    regions: RegionStack
    scale: float
    until: float

    def controls(self) -> list[Control]:
        """The reconstruction beside the edit, and the guidance that both run under."""
        reconstruction = Reconstruction(self.pivots, self.text, self.scale, until=self.until)
        return [
            ClassifierFreeGuidance(
                UNCONDITIONAL_BRANCH, reconstruction.embeddings, self.scale, until=self.until
            ),
            reconstruction,
            HeldGuidance(self.pivots),
        ]


def begin_editing(
    materials: Materials,
    denoiser: Denoiser,
    trajectory: Trajectory,
    p: SamplingParameters,
    q: VideoDirectorParameters,
) -> Editing:
    """Stage 1: `p` says how it is guided, `q` how it is fitted."""
    source = materials.backbone.embed(materials.source_prompt)
    regions = reshape_regions(materials.regions, MaskMode.ELLIPSE) if q.ellipse else materials.regions
    weights = GuidanceWeights(0, 0, 0, 0)
    if q.decoupled:
        weights = GuidanceWeights(
            q.temporal_inside, q.temporal_outside, q.appearance_inside, q.appearance_outside
        )
    if q.edited == "background":
        weights = weights.swapped()
    conditional = DecoupledGuidance(denoiser, source.states, regions, weights, checkpointing=q.checkpointing)
    plan = PivotalPlan(q.inner_steps, q.inner_rate, q.multi_frame, p.guidance, p.guidance_window)
    pivots = materials.pivots(
        denoiser, trajectory, p.negative_prompt, plan, conditional, conditional.identity()
    )
    return Editing(pivots, source.states, regions, p.guidance, p.guidance_window)


def self_attention_control(p: VideoDirectorParameters) -> SelfAttentionControl:
    """SA-I, then SA-II, for both branches of the edit (eq. 6)."""
    references = {EDIT_BRANCH: RECONSTRUCTION_BRANCH, UNCONDITIONAL_BRANCH: NULL_BRANCH}
    return SelfAttentionControl(SelfAttentionPlan(p.self_window, p.self_first, p.self_second), references)


def cross_attention_control(
    materials: Materials, words: TextLayout, p: VideoDirectorParameters
) -> CrossAttentionControl | None:
    """Prompt-to-prompt for the edit's own branch (eq. 7); None where nothing of it is wanted."""
    mapping = _word_mapping(materials, words, p)
    if mapping is None:
        return None
    return CrossAttentionControl(mapping, {EDIT_BRANCH: RECONSTRUCTION_BRANCH}, until=p.cross_window)


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
