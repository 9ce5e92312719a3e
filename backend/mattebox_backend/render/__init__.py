"""A render, as one straight line: Edit → decode → masks → encode → invert → sample → decode → composite →
measure.

Nothing here imports torch before `render` is called, so a server can validate edits from its first second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mattebox_backend.render.report import Report
from mattebox_backend.render.stages import RenderMonitor, RenderPaths, Stage
from mattebox_backend.render.validation import validate

if TYPE_CHECKING:
    from mattebox_backend.controls.composite import Frame
    from mattebox_backend.device import Device
    from mattebox_backend.edit import Edit
    from mattebox_backend.render.stages import BackboneSource

__all__ = ["RenderMonitor", "RenderPaths", "Report", "Stage", "render", "validate"]


def render(
    edit: Edit,
    *,
    models: BackboneSource,
    device: Device,
    paths: RenderPaths,
    monitor: RenderMonitor,
    write: Callable[[Iterator[Frame]], None],
) -> Report:
    """Make an edit, hand its frames to `write` one by one, and report how it went.

    The frames have the source's size and depth: (H, W, 3) RGB or (H, W, 4) with the source's alpha, uint8
    or uint16. A render that is interrupted leaves its state in `paths.checkpoint`; the same call goes on
    from there and gives the same bits.

    Raises `InvalidEdit` for an edit that cannot be made, `Cancelled` when the monitor does, the errors of
    the model registry, and those of `mattebox_media` for a source that cannot be read.
    """
    from mattebox_backend.render.pipeline import Pipeline

    return Pipeline(edit, models, device, paths, monitor).run(write)
