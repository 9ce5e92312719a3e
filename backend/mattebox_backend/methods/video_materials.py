"""What the recipe of a method on an image-to-video model works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mattebox_backend.backbones.video_protocol import VideoBackbone
from mattebox_backend.diffusion.control import Control
from mattebox_backend.diffusion.flow import FlowGrid
from mattebox_backend.diffusion.video_denoiser import ConditionedVideo
from mattebox_backend.lora.adapter import AdapterPlan
from mattebox_backend.lora.samples import Footage
from mattebox_backend.lora.store import KeptAdapter
from mattebox_backend.lora.training import Lesson, TrainingPlan


class VideoMaterials(Protocol):
    """One render, as its method's recipe sees it."""

    @property
    def backbone(self) -> VideoBackbone:
        """The loaded model."""
        ...

    @property
    def prompt(self) -> str:
        """What the whole result should show."""
        ...

    @property
    def source_prompt(self) -> str:
        """What the source shows."""
        ...

    @property
    def frame_count(self) -> int:
        """How many frames are edited; the footage may have some more."""
        ...

    @property
    def footage(self) -> Footage:
        """The source and what the regions cover of it, as the backbone takes it: where the clip's length is
        none that the model knows, its last frame is repeated.
        """
        ...

    @property
    def pictures(self) -> Mapping[int, NDArray[np.uint8]]:
        """The references, (H, W, 3) by frame of the footage; outside their regions they are the source's."""
        ...

    @property
    def training_window(self) -> int:
        """The frames that are learnt from together; 0: all."""
        ...

    def placed_for_sampling(self, adapter: AdapterPlan, frames: int) -> AbstractContextManager[object]:
        """Within the block the backbone, which has an adapter of that plan, is where it can generate so many
        frames at once. Raises `InvalidEdit` where the device cannot hold it.
        """
        ...

    def found(self, adapter: str) -> KeptAdapter:
        """The adapter of an id. Raises `InvalidEdit` where there is none."""
        ...

    def learnt(
        self,
        name: str,
        lesson: Callable[[Callable[[int, int], None]], Lesson],
        adapter: AdapterPlan,
        plan: TrainingPlan,
        parent: KeptAdapter | None,
        recipe: Mapping[str, Any],
    ) -> KeptAdapter:
        """An adapter trained on a lesson, on from its parent; from the store where that has been done before.

        name: of the training, for whoever watches it. lesson: what is learnt from, made only where it is
        needed; it is given progress(done, of), which may raise to stop. recipe: all that the lesson depends
        on beside the footage, as JSON values.
        """
        ...

    def generated(
        self,
        denoiser: ConditionedVideo,
        grid: FlowGrid,
        controls: Sequence[Control],
        window: range,
        place: tuple[int, int],
        *,
        source: torch.Tensor | None,
    ) -> torch.Tensor:
        """Clean latents (T, C, h, w) of a window of the footage, sampled from noise. place: which window it
        is, of how many. source: its latents, for a control that reads them.
        """
        ...
