"""What of a video model lies where while it is trained or sampled: the planner's choice, or the user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from mattebox_backend.backbones.block_swap import BlockSwap
from mattebox_backend.backbones.protocol import WorkingSize
from mattebox_backend.backbones.video_protocol import VideoBackbone, padded_length
from mattebox_backend.device import total_memory_mb
from mattebox_backend.lora.adapter import AdapterPlan
from mattebox_backend.lora.autoencoder_memory import autoencoder_bytes
from mattebox_backend.lora.footprint import Footprint, loaded_footprint
from mattebox_backend.lora.planner import (
    PAPER_WINDOW,
    Choices,
    ClipSize,
    Plan,
    Settings,
    memory_for,
    plan_sampling,
    plan_training,
)
from mattebox_backend.methods.mask_lora_parameters import MaskLoraParameters

_GIBIBYTE = 1 << 30
_CHECKPOINTING = {"auto": (False, True), "on": (True,), "off": (False,)}


@dataclass(frozen=True, slots=True, eq=False)
class MemoryPlanner:
    """Plans for one clip on one backbone. p: what the user wants; frames: of the clip."""

    backbone: VideoBackbone
    p: MaskLoraParameters
    size: WorkingSize
    frames: int

    def training_window(self) -> int:
        """The frames that are learnt from together, 0 for the whole clip: what the user says, else what the
        device can hold. That hangs on the device's memory as a whole and not on what is free just now, since
        what is learnt hangs on it.
        """
        if self.p.training_window >= 0:
            window = self.p.training_window
            return padded_length(window, self.backbone.frame_stride) if window else 0
        limit = self.backbone.frame_limit
        whole = self.frames if limit is None else min(self.frames, limit)
        memory = self.p.memory * _GIBIBYTE or total_memory_mb(self.backbone.device) * (1 << 20)
        plan = plan_training(
            self._footprint(self._adapter),
            self._clip(whole),
            memory,
            Choices((0, PAPER_WINDOW)),
            ahead=self._ahead,
        )
        return plan.settings.window_frames

    def training(self, adapter: AdapterPlan, frames: int) -> Plan:
        """For learning from so many frames together."""
        choices = Choices((0,), _CHECKPOINTING[self.p.checkpointing], self._blocks())
        return plan_training(
            self._footprint(adapter),
            self._clip(frames),
            self._memory(),
            choices,
            autoencoder=self.autoencoder(frames),
            ahead=self._ahead,
        )

    def sampling(self, adapter: AdapterPlan, frames: int) -> Plan:
        """For generating so many frames together."""
        choices = Choices((0,), (False,), self._blocks())
        branches = 1 if self.p.guidance == 1 else 2
        return plan_sampling(
            self._footprint(adapter),
            self._clip(frames),
            self._memory(),
            choices,
            branches=branches,
            autoencoder=self.autoencoder(frames),
            ahead=self._ahead,
        )

    def autoencoder(self, frames: int) -> float:
        """Bytes that the autoencoder takes for so many frames."""
        return autoencoder_bytes(self.backbone.vae, frames, self.size.width, self.size.height)

    @property
    def _adapter(self) -> AdapterPlan:
        return AdapterPlan(self.p.rank, self.p.alpha, self.p.feed_forward)

    @property
    def _ahead(self) -> bool:
        return self.backbone.device.kind == "cuda"

    def _blocks(self) -> int | None:
        return None if self.p.blocks_to_swap < 0 else self.p.blocks_to_swap

    def _memory(self) -> float:
        return self.p.memory * _GIBIBYTE or memory_for(self.backbone)

    def _footprint(self, adapter: AdapterPlan) -> Footprint:
        return loaded_footprint(self.backbone, adapter.rank, feed_forward=adapter.feed_forward)

    def _clip(self, frames: int) -> ClipSize:
        size = self.size
        return ClipSize(
            frames,
            size.width,
            size.height,
            size.latent_width,
            size.latent_height,
            self.backbone.frame_stride,
        )


@contextmanager
def placed(backbone: VideoBackbone, settings: Settings) -> Iterator[BlockSwap | None]:
    """Within the block, the backbone's network is on its device but for the blocks that rest elsewhere, and
    computes again what it is set to; after it, it is where and what it was.

    On a CPU without swapping there is nothing to place.
    """
    device = backbone.device
    saving: Any = backbone.saving_memory() if settings.checkpointing else nullcontext()
    with saving:
        if device.kind == "cpu" and settings.blocks_to_swap == 0:
            yield None
            return
        with BlockSwap(backbone.network, backbone.blocks, settings.blocks_to_swap, device.torch) as swap:
            yield swap


def what_it_took(
    backbone: VideoBackbone, plan: Plan, swap: BlockSwap | None, began: float, peak: float
) -> str:
    """A sentence for the job's log, after the work. began, peak: MiB in use before it, and the most since; on
    a CPU of the whole program, which has the weights in memory already.
    """
    expected = plan.expected.total
    if backbone.device.kind == "cuda":
        took = f"It took {peak:,.0f} MB at most"
    else:
        took = f"It took {peak - began:,.0f} MB more at most than before"
        expected -= plan.expected.weights
    sentence = f"{took}; {expected / (1 << 20):,.0f} MB were expected."
    if swap is None:
        return sentence
    resident, moved = (count / (1 << 20) for count in (swap.peak_resident_bytes, swap.moved_bytes))
    return f"{sentence} Of the blocks {resident:,.0f} MB were there at a time, {moved:,.0f} MB moved."
