"""Motion modules for a pocket model, and a UNet that has them in place."""

from __future__ import annotations

from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from mattebox_backend.backbones.animatediff import set_in_motion
from mattebox_backend.pocket.motion.config import AdapterConfig


def build_adapter(config: AdapterConfig, unet: UNet2DConditionModel) -> MotionAdapter:
    """Untrained motion modules that fit ``unet``: their last projections are zero, so that at first every
    frame is what the image model makes of it (AnimateDiff, section 4.2).
    """
    adapter = MotionAdapter(
        block_out_channels=tuple(unet.config.block_out_channels),
        motion_layers_per_block=unet.config.layers_per_block,
        motion_num_attention_heads=config.heads,
        motion_norm_num_groups=unet.config.norm_num_groups,
        motion_max_seq_length=config.frames,
    )
    for name, module in adapter.named_modules():
        if name.endswith("proj_out"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return adapter


def moving_unet(unet: UNet2DConditionModel, adapter: MotionAdapter) -> UNetMotionModel:
    """A UNet for clips with the weights of ``unet``, frozen copies, and the very modules of ``adapter``:
    training it trains the adapter.
    """
    moving = set_in_motion(unet, adapter)
    moving.requires_grad_(False)
    for block, motion in zip(moving.down_blocks, adapter.down_blocks, strict=True):
        block.motion_modules = motion.motion_modules
    for block, motion in zip(moving.up_blocks, adapter.up_blocks, strict=True):
        block.motion_modules = motion.motion_modules
    moving.mid_block.motion_modules = adapter.mid_block.motion_modules
    moving.set_attn_processor(AttnProcessor())  # on a CPU the fused kernel's backward pass costs 1.6x a step
    return moving
