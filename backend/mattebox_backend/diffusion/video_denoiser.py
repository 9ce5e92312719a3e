"""How a run asks an image-to-video model: all frames at once, under a condition and a prompt per branch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from mattebox_backend.backbones.video_protocol import Prompt, VideoBackbone

ELSEWHERE = torch.zeros(1, 1)
"""Stands for a branch's text: what it is told lies with the `ConditionedVideo`, by its name."""


@dataclass(frozen=True, slots=True, eq=False)
class ConditionedVideo:
    """condition: (T, K, h, w), what is known of the clip. prompts: by branch."""

    backbone: VideoBackbone
    condition: torch.Tensor
    prompts: Mapping[str, Prompt]

    def predict(
        self, latents: torch.Tensor, timestep: int, text: torch.Tensor, branches: Sequence[str]
    ) -> torch.Tensor:
        """The velocity in latents (B, T, C, h, w): like them, float32. text: not looked at."""
        prompts = [self.prompts[branch] for branch in branches]
        return self.backbone.predict(latents, timestep, self.condition, prompts)
