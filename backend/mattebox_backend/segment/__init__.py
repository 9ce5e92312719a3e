"""Where regions come from when nobody paints them. Nothing here imports torch before a search begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mattebox_backend.segment.proposals import Proposal, ProposalRequest

if TYPE_CHECKING:
    from mattebox_backend.device import Device
    from mattebox_backend.render.stages import BackboneSource, Stage

__all__ = ["Proposal", "ProposalRequest", "propose_regions"]


def propose_regions(
    request: ProposalRequest,
    *,
    models: BackboneSource,
    device: Device,
    progress: Callable[[Stage, int, int], None],
) -> list[Proposal]:
    """Candidates for regions, the largest first, from the attention of a model that looks at the clip.

    progress: told stage, step, of; may raise to stop. Raises `InvalidEdit` for what cannot be asked, the
    errors of the model registry, and those of `mattebox_media` for a source that cannot be read.
    """
    from mattebox_backend.segment.search import search

    return search(request, models, device, progress)
