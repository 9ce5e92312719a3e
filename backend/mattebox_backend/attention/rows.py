"""Attention rows as features: short vectors that keep the distances between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from mattebox_backend.attention.sites import AttentionCall, AttentionSite
from mattebox_backend.attention.switchboard import Switchboard
from mattebox_backend.attention.terms import AttentionMaps


class RowFeatures:
    """Keeps, of every query of some self-attention sites with one token grid, its row of the map, averaged
    over heads and sites.

    A row has as many entries as there are keys: in full-frame attention all tokens of all frames, and the
    rows of a clip would take their square. So each is multiplied by a random matrix as soon as its block is
    there, which keeps the distances between rows (Johnson and Lindenstrauss). The sum over the keys of all
    frames would be as short, but it forgets when: what moves would be told by where it has been.
    """

    def __init__(
        self,
        switchboard: Switchboard,
        sites: Sequence[AttentionSite],
        branch: str,
        *,
        length: int = 256,
        seed: int = 0,
    ) -> None:
        self._switchboard = switchboard
        self._sites = tuple(sites)
        self._branch = branch
        self._length = length
        self._seed = seed
        self._projection: torch.Tensor | None = None
        self._blocks: dict[str, dict[tuple[int, int], torch.Tensor]] = defaultdict(dict)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, a prediction is caught; what was caught before is forgotten."""
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
            caught[first, rows.start] = self._shorten(maps[place].mean(0))
            return maps

        return (AttentionMaps(read),)

    def features(self) -> torch.Tensor:
        """(query tokens of all frames, at most `length`) float32."""
        of_sites = [
            torch.cat([blocks[place] for place in sorted(blocks)]) for blocks in self._blocks.values()
        ]
        return torch.stack(of_sites).mean(0)

    def _shorten(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows (n, K) as (n, length) float32; short ones stay as they are."""
        keys = rows.shape[1]
        if keys <= self._length:
            return rows.float()
        if self._projection is None or len(self._projection) != keys:
            generator = torch.Generator().manual_seed(self._seed)
            drawn = torch.randn(keys, self._length, generator=generator) / self._length**0.5
            self._projection = drawn.to(rows.device)
        return rows.float() @ self._projection
