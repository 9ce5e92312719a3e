"""A denoiser that is told where to edit and what lies around (region-of-interest-aware diffusion, section 3).

A UNet of Stable Diffusion's kind, widened: more input channels, a second noise head, learnt biases of its
attention. Every mechanism of the paper's table 3 can be left out, for ablations.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from mattebox_backend.attention import AttentionCall, AttentionSite, CallLayout, LowRankBias, SiteKind


@dataclass(frozen=True, slots=True)
class RegionDesign:
    """Which mechanisms a network has.

    mask_channel: M beside the latents. two_paths: `M ⊙ x` and `(1 − M) ⊙ x` instead of x (eqs. 3.1–3.3).
    experts: a noise head for the region and one for the background (eq. 3.4). self_bias: γ, δ, η of eq. 3.6,
    learnt per layer. routing: ρ of eq. 3.9, learnt per layer. pyramid: at every scale a learnt vector is
    added to the features of masked places (eq. 3.12).
    """

    mask_channel: bool = True
    two_paths: bool = True
    experts: bool = True
    self_bias: bool = True
    routing: bool = True
    pyramid: bool = True

    def inputs(self, channels: int) -> int:
        """Input channels of the UNet, for latents of `channels`; the last of them are the known source's."""
        return channels * (2 if self.two_paths else 1) + int(self.mask_channel) + channels

    def outputs(self, channels: int) -> int:
        """Output channels of the UNet."""
        return channels * (2 if self.experts else 1)


@dataclass(frozen=True, slots=True, eq=False)
class RegionCondition:
    """What the network is told, for all frames of a clip; B is 1 where every branch is told the same.

    mask: (B, F, 1, h, w) in [0, 1], 1 = edit here. source: (B, F, C, h, w) clean latents of the source, zero
    wherever the mask is not. shares: (B, K, F, h, w) in [0, 1], where each region shows. words: (B, K, L), 1
    for a region's words. routed: the branches whose text has those words; None: all.
    """

    mask: Tensor
    source: Tensor
    shares: Tensor
    words: Tensor
    routed: Collection[str] | None = None

    @classmethod
    def nothing_known(cls, latents: Tensor, length: int) -> RegionCondition:
        """Everything is to be made, for latents (B, F, C, h, w) and texts of a length."""
        _, frames, channels, height, width = latents.shape
        return cls(
            latents.new_ones(1, frames, 1, height, width),
            latents.new_zeros(1, frames, channels, height, width),
            latents.new_zeros(1, 1, frames, height, width),
            latents.new_zeros(1, 1, length),
        )


class RegionNetwork(nn.Module):
    """The UNet with what is learnt beside it. It listens at its own attention sites while it is asked.

    A condition stays in place until the next call, so that a pass that is computed again for its gradient
    sees it.
    """

    def __init__(self, unet: Any, design: RegionDesign, sites: Sequence[AttentionSite]) -> None:
        super().__init__()
        self.unet = unet
        self.design = design
        self._places = {
            kind: {site.name: place for place, site in enumerate(s for s in sites if s.kind is kind)}
            for kind in (SiteKind.SELF, SiteKind.CROSS)
        }
        self.self_bias = nn.Parameter(torch.zeros(len(self._places[SiteKind.SELF]), 3))
        self.routing = nn.Parameter(torch.zeros(len(self._places[SiteKind.CROSS])))
        scales = list(_scales(unet))
        self.pyramid = nn.ParameterList([torch.zeros(block.out_channels) for block in scales])
        if design.pyramid:
            for place, block in enumerate(scales):
                block.register_forward_hook(partial(self._mark, place))
        self._condition: RegionCondition | None = None
        self._masks = torch.empty(0)

    def forward(
        self,
        noisy: Tensor,
        timestep: Tensor | int,
        text: Tensor,
        condition: RegionCondition,
        layout: CallLayout,
    ) -> Tensor:
        """Predicted noise in latents (B, F, C, h, w): the same shape.

        timestep: one, or (B·F,). text: (B, L, C), or (B·F, L, C). layout: branches and frames of the call;
        the condition's frames are those of the whole clip.
        """
        branches, frames, channels = noisy.shape[:3]
        chosen = list(layout.frames)

        def of_call(values: Tensor) -> Tensor:
            """(B or 1, all frames, …) → (B·F, …)."""
            return values[:, chosen].expand(branches, *[-1] * (values.ndim - 1)).flatten(0, 1).to(noisy)

        mask, source, latents = of_call(condition.mask), of_call(condition.source), noisy.flatten(0, 1)
        self._condition, self._masks = condition, mask
        parts = [mask * latents, (1 - mask) * latents] if self.design.two_paths else [latents]
        if self.design.mask_channel:
            parts.append(mask)
        output = self.unet(
            torch.cat([*parts, source], 1),
            timestep,
            encoder_hidden_states=text,
            cross_attention_kwargs={"layout": layout},
            return_dict=False,
        )[0]
        if self.design.experts:
            inside, outside = output.split(channels, 1)
            output = mask * inside + (1 - mask) * outside
        noise: Tensor = output.view(branches, frames, channels, *noisy.shape[3:])
        return noise

    def terms(self, call: AttentionCall) -> Sequence[LowRankBias]:
        """The learnt bias of one attention call (`AttentionListener`)."""
        if self._condition is None:
            return ()
        if call.site.kind is SiteKind.SELF and self.design.self_bias:
            return (self._bias(call, self._condition),)
        if call.site.kind is SiteKind.CROSS and self.design.routing:
            return (self._route(call, self._condition),)
        return ()

    def listens_at(self, sites: Iterable[AttentionSite]) -> list[AttentionSite]:
        """Those of the sites that it has something to say at."""
        kinds = {SiteKind.SELF: self.design.self_bias, SiteKind.CROSS: self.design.routing}
        return [site for site in sites if kinds.get(site.kind, False)]

    def learnt(self) -> dict[str, Tensor]:
        """What is learnt beside the UNet, by name."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("unet.")}

    def _bias(self, call: AttentionCall, condition: RegionCondition) -> LowRankBias:
        """Eq. 3.6, as `controls.region_bias` has it, with factors (B, 1, tokens, 2)."""
        inside, outwards, inwards = self.self_bias[self._places[SiteKind.SELF][call.site.name]]
        masks = adaptive_avg_pool2d(condition.mask[:, :, 0], call.grid).flatten(2)
        queries = masks[:, list(call.frames)].flatten(1).unsqueeze(1)
        keys = masks[:, list(call.key_frames)].flatten(1).unsqueeze(1)
        towards = inside * queries + inwards * (1 - queries)
        return LowRankBias(torch.stack([towards, outwards * queries], -1), torch.stack([keys, 1 - keys], -1))

    def _route(self, call: AttentionCall, condition: RegionCondition) -> LowRankBias:
        """Eq. 3.9, as `controls.region_routing` has it, with factors (B, 1, tokens, K)."""
        strength = self.routing[self._places[SiteKind.CROSS][call.site.name]]
        shares = condition.shares[:, :, list(call.frames)]
        pooled = adaptive_avg_pool2d(shares.flatten(0, 1), call.grid).flatten(1)
        pooled = pooled.view(*shares.shape[:2], -1).transpose(1, 2).unsqueeze(1)
        query = strength * pooled
        if condition.routed is not None:
            told = [float(name in condition.routed) for name in call.branches]
            query = query * torch.tensor(told, device=query.device).view(-1, 1, 1, 1)
        return LowRankBias(query, condition.words.transpose(1, 2).unsqueeze(1))

    def _mark(self, place: int, _: nn.Module, __: object, features: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        mask = adaptive_avg_pool2d(self._masks, (height, width)).to(features)
        marked: Tensor = features + mask * self.pyramid[place].to(features).view(1, -1, 1, 1)
        return marked


def _scales(unet: Any) -> Iterable[Any]:
    """The first residual block of every scale, down, middle and up."""
    for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
        yield block.resnets[0]
