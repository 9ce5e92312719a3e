"""`pocket-roi` in the making: its network, grown from pocket-sd's."""

from __future__ import annotations

import copy
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from mattebox_backend.attention import AttentionSite, Switchboard
from mattebox_backend.attention.switchboard import SiteProcessor
from mattebox_backend.backbones.region_network import RegionDesign, RegionNetwork
from mattebox_backend.backbones.stable_diffusion import find_sites


def grow(base: Any, design: RegionDesign) -> RegionNetwork:
    """A network that predicts just what the UNet `base` does, whatever it is told.

    Shared weights are copies. Both paths of the input have base's first weights, since what they carry adds
    up to the latents; the mask's and the source's begin as zero; both noise heads are base's; so is how
    it attends, where nothing has been learnt yet.
    """
    channels = int(base.config.in_channels)
    config = dict(base.config) | {
        "in_channels": design.inputs(channels),
        "out_channels": design.outputs(channels),
    }
    unet = UNet2DConditionModel.from_config(config)
    weights = {name: value.clone() for name, value in base.state_dict().items()}
    first = torch.zeros_like(unet.conv_in.weight)
    for path in range(2 if design.two_paths else 1):
        first[:, path * channels : (path + 1) * channels] = weights["conv_in.weight"]
    weights["conv_in.weight"] = first
    heads = 2 if design.experts else 1
    weights["conv_out.weight"] = weights["conv_out.weight"].repeat(heads, 1, 1, 1)
    weights["conv_out.bias"] = weights["conv_out.bias"].repeat(heads)
    unet.load_state_dict(weights)
    return RegionNetwork(unet, design, find_sites(unet))


def connect(network: RegionNetwork) -> tuple[AttentionSite, ...]:
    """Let the network's own attention ask what it has learnt, for training outside a backbone."""
    sites = find_sites(network.unet)
    switchboard = Switchboard(sites)
    for site in sites:
        network.unet.get_submodule(site.name).set_processor(SiteProcessor(site, switchboard))
    for site in network.listens_at(sites):
        switchboard.listen(site, network)
    return sites


def untrained_copy(network: RegionNetwork) -> RegionNetwork:
    """A network of the same design with weights of its own, connected to nothing."""
    unet = UNet2DConditionModel.from_config(copy.deepcopy(dict(network.unet.config)))
    return RegionNetwork(unet, network.design, find_sites(unet))
