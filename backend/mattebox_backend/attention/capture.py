"""Catches the attention maps of a prediction, with their graph where a gradient is wanted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from mattebox_backend.attention.sites import AttentionCall, AttentionSite
from mattebox_backend.attention.switchboard import Switchboard
from mattebox_backend.attention.terms import AttentionMaps


class MapCapture:
    """Keeps the maps of one branch at some sites, averaged over heads, as the prediction used them.

    Its listener comes after all that listen when `listening` begins, so that it sees what they made.
    """

    def __init__(self, switchboard: Switchboard, sites: Sequence[AttentionSite], branch: str) -> None:
        self._switchboard = switchboard
        self._sites = tuple(sites)
        self._branch = branch
        # By site, then by (first frame, first row): a pass that is computed again overwrites, not adds.
        self._blocks: dict[str, dict[tuple[int, int], torch.Tensor]] = defaultdict(dict)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, predictions are caught; what was caught before is forgotten."""
        self._blocks.clear()
        for site in self._sites:
            self._switchboard.listen(site, self)
        try:
            yield
        finally:
            self._switchboard.hush(self)

    def terms(self, call: AttentionCall) -> Sequence[AttentionMaps]:
        """Reads the maps, and leaves them as they are."""
        if self._branch not in call.branches:
            return ()
        place = call.branches.index(self._branch)
        caught, first = self._blocks[call.site.name], call.frames.start

        def read(maps: torch.Tensor, rows: slice) -> torch.Tensor:
            caught[first, rows.start] = maps[place].mean(0)
            return maps

        return (AttentionMaps(read),)

    def maps(self) -> dict[str, torch.Tensor]:
        """Per site that was called: (query tokens of all frames, keys) float32, averaged over heads."""
        return {
            name: torch.cat([blocks[place] for place in sorted(blocks)])
            for name, blocks in self._blocks.items()
        }
