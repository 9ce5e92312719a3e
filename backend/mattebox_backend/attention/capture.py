"""Catches what happens in the attention of a prediction, with its graph where a gradient is wanted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from mattebox_backend.attention.sites import AttentionCall, AttentionSite
from mattebox_backend.attention.switchboard import Switchboard
from mattebox_backend.attention.terms import AttentionMaps, Projections


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
        with self._switchboard.listening(self._sites, self):
            yield

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
        """Per site that was called: (query tokens of all frames, keys), averaged over heads."""
        return {
            name: torch.cat([blocks[place] for place in sorted(blocks)])
            for name, blocks in self._blocks.items()
        }

    def take(self) -> dict[str, torch.Tensor]:
        """`maps`, and nothing is kept of them."""
        maps = self.maps()
        self._blocks.clear()
        return maps


class TimeCapture:
    """Keeps the maps of temporal sites and the keys of self sites, for one branch.

    Both as they were used, with nothing averaged; see `maps` and `keys`.
    """

    def __init__(
        self,
        switchboard: Switchboard,
        temporal: Sequence[AttentionSite],
        spatial: Sequence[AttentionSite],
        branch: str,
    ) -> None:
        self._switchboard = switchboard
        self._temporal = tuple(temporal)
        self._spatial = tuple(spatial)
        self._branch = branch
        self._maps: dict[str, dict[int, torch.Tensor]] = defaultdict(dict)
        self._keys: dict[str, dict[int, torch.Tensor]] = defaultdict(dict)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, predictions are caught; what was caught before is forgotten."""
        self._maps.clear()
        self._keys.clear()
        with self._switchboard.listening((*self._temporal, *self._spatial), self):
            yield

    def terms(self, call: AttentionCall) -> Sequence[AttentionMaps | Projections]:
        """Reads, and leaves everything as it is."""
        if self._branch not in call.branches:
            return ()
        place, branches = call.branches.index(self._branch), len(call.branches)
        if call.site in self._temporal:
            of_site = self._maps[call.site.name]

            def read_maps(maps: torch.Tensor, rows: slice) -> torch.Tensor:
                of_site[rows.start] = maps.chunk(branches)[place]
                return maps

            return (AttentionMaps(read_maps),)

        of_frames, first = self._keys[call.site.name], call.frames.start

        def read_keys(
            query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            of_frames[first] = key[place]
            return query, key, value

        return (Projections(read_keys),)

    def maps(self) -> dict[str, torch.Tensor]:
        """Per temporal site: (h·w, heads, F, F), from frames (rows) to frames."""
        return {
            name: torch.cat([blocks[row] for row in sorted(blocks)], dim=2)
            for name, blocks in self._maps.items()
        }

    def keys(self) -> dict[str, torch.Tensor]:
        """Per self site: (heads, F·h·w, d)."""
        return {
            name: torch.cat([frames[first] for first in sorted(frames)], dim=1)
            for name, frames in self._keys.items()
        }
