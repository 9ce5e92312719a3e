"""Tells a backbone that was trained with masks where to edit and what lies around (region-of-interest-aware
diffusion, section 3).
"""

from __future__ import annotations

import torch

from mattebox_backend.backbones.region_diffusion import RegionDiffusion
from mattebox_backend.backbones.region_network import RegionCondition
from mattebox_backend.controls.edit_mask import EditMask
from mattebox_backend.controls.region_routing import word_indicator
from mattebox_backend.controls.text_layout import TextLayout
from mattebox_backend.diffusion.control import EDIT_BRANCH, Control, Run


class RegionConditioning(Control):
    """For as long as the run lasts: the mask, the source's clean latents where nothing is masked, and whose
    words are whose; any other backbone is left alone.

    mask: it has to come before among the controls; its smoothed boundary is what the network sees. What is
    known of the source ends where the regions themselves begin.
    """

    def __init__(self, text: TextLayout, mask: EditMask) -> None:
        self._text = text
        self._mask = mask
        self._backbone: RegionDiffusion | None = None

    def prepare(self, run: Run) -> None:
        backbone = run.backbone
        if not isinstance(backbone, RegionDiffusion):
            return
        self._backbone = backbone
        device = backbone.device.torch
        free = torch.from_numpy(run.regions.coverage(*run.latent_size) > 0).unsqueeze(1).to(device)
        clean = run.trajectory.level(0, backbone.device)
        backbone.condition = RegionCondition(
            mask=self._mask.current.unsqueeze(0),
            source=torch.where(free, torch.zeros_like(clean), clean).unsqueeze(0),
            shares=torch.from_numpy(run.regions.shares(*run.latent_size)).unsqueeze(0).to(device),
            words=word_indicator(self._text).unsqueeze(0).to(device),
            routed=(EDIT_BRANCH,),
        )
        for site in backbone.network.listens_at(backbone.attention_sites()):
            backbone.switchboard.listen(site, backbone.network)

    def close(self) -> None:
        if self._backbone is not None:
            self._backbone.switchboard.hush(self._backbone.network)
            self._backbone.condition = None
        self._backbone = None
