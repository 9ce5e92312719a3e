"""The source's latents, for whatever is to be learnt of a clip."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import numpy as np
import torch
from mattebox_media import ClipReader

from mattebox_backend.backbones.protocol import Backbone
from mattebox_backend.render.stages import Stage, StageClock
from mattebox_backend.render.view import View

_FRAMES_AT_ONCE = 8


def encode_frames(
    reader: ClipReader,
    span: range,
    view: View,
    backbone: Backbone,
    clock: StageClock,
    progress: Callable[[int, int], None],
) -> torch.Tensor:
    """The latents (F, C, h, w) of the frames in `span`, as the view shows them.

    A few frames are in memory at once. `progress(frames, of)` is told before each few and at the end, and may
    raise to stop.
    """
    latents: list[torch.Tensor] = []
    frames = reader.frames(span.start, span.stop)
    for done in range(0, len(span), _FRAMES_AT_ONCE):
        progress(done, len(span))
        with clock.running(Stage.DECODE):
            chunk = np.stack([view.take(frame) for frame in islice(frames, _FRAMES_AT_ONCE)])
        with clock.running(Stage.ENCODE):
            latents.append(backbone.encode(chunk))
    progress(len(span), len(span))
    return torch.cat(latents)
