"""What a run did on its way: attention per word and the controls' own maps, at some of its steps; and what
its model saw of the source's layout before.

Looking changes no bit of the result: the prediction of a step is asked for once more, with listeners.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mattebox_proto.atomic_file import replacing
from numpy.typing import NDArray

from mattebox_backend.attention import SiteKind
from mattebox_backend.attention.capture import MapCapture
from mattebox_backend.diffusion.control import EDIT_BRANCH, Control, Question, Run, Step
from mattebox_backend.diffusion.schedule import felt_log_snr
from mattebox_backend.segment.clusters import cluster
from mattebox_backend.segment.layout import readable_level, readable_sites, row_features

_LOOKS = 8
_CONTROL = "control:"
WORDS = "words.json"
CLUSTERS = "clusters.npz"
_CLUSTERS = 5
"""As many as `mattebox regions` looks for."""


@dataclass(frozen=True, slots=True)
class InspectedWord:
    """A word of the edit's prompt. positions: of its tokens among the text's. region: whose it is, or ""."""

    text: str
    positions: tuple[int, ...]
    region: str


class Inspector:
    """Keeps a file per step that it looks at, in a folder of its own; a run that is resumed goes on there.

    source: text states (L, C) of the source prompt.

    `words.json`: the words. `clusters.npz`: `level` (log-SNR as felt at 512²) and `labels` (F, h, w) uint8,
    k-means of the inversion's self attention. `step-<index>.npz`: `level` (log-SNR as felt at 512²),
    `attention` (words, F, h, w) float16, mean over heads, sites and the tokens of a word, at latent size;
    `control:<name>` (F, h, w) float16.
    """

    def __init__(self, folder: Path, words: Sequence[InspectedWord], source: torch.Tensor, seed: int) -> None:
        self._folder = folder
        self._words = tuple(words)
        self._source = source
        self._seed = seed
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / WORDS) as stream:
            stream.write(json.dumps([asdict(word) for word in words], indent=1).encode())

    def begin(self, run: Run) -> None:
        """Keep the clusters of the inversion that a run starts from, before any control listens.

        A backbone that cannot see all frames at once leaves none: rows over some of them tell nothing of
        tokens in others.
        """
        limit, file = run.backbone.frame_limit, self._folder / CLUSTERS
        if file.exists() or (limit is not None and limit < run.frames):
            return
        sites = readable_sites(run.backbone, run.latent_size)
        level = readable_level(run.grid, run.picture_size)
        latents = run.trajectory.level(level, run.backbone.device)
        timestep = run.grid.timesteps[level]
        features = row_features(run.backbone, latents, timestep, self._source, sites, self._seed)
        labels = cluster(features, min(_CLUSTERS, len(features)), self._seed)
        planes = labels.reshape(run.frames, *sites[0].grid(*run.latent_size)).astype(np.uint8)
        felt = felt_log_snr(run.grid.log_snr(level), *run.picture_size)
        self._keep(file, {"level": np.float64(felt), "labels": planes})

    def wants(self, step: Step) -> bool:
        """Whether a step is looked at: the first, the last, and some between, evenly."""
        looks = min(_LOOKS, step.of)
        return step.index in {round(n * (step.of - 1) / max(1, looks - 1)) for n in range(looks)}

    def look(self, run: Run, question: Question, step: Step, controls: Sequence[Control]) -> None:
        """Keep what a step that just ended did."""
        arrays: dict[str, NDArray[np.float16]] = {"attention": self._attention(run, question, step)}
        for control in controls:
            for name, values in control.shows().items():
                arrays[f"{_CONTROL}{name}"] = values.detach().float().cpu().numpy().astype(np.float16)
        file = self._folder / f"step-{step.index:04d}.npz"
        self._keep(file, {"level": np.float64(step.felt_log_snr), **arrays})

    def _keep(self, file: Path, arrays: Mapping[str, Any]) -> None:
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        with replacing(file) as stream:
            stream.write(content.getvalue())

    def _attention(self, run: Run, question: Question, step: Step) -> NDArray[np.float16]:
        sites = [site for site in run.backbone.attention_sites() if site.kind is SiteKind.CROSS]
        capture = MapCapture(run.backbone.switchboard, sites, EDIT_BRANCH)
        found = torch.zeros(len(self._words), run.frames, *run.latent_size)
        with capture.listening():
            for window, _ in run.frame_denoiser.by_window(
                question.latents, step.timestep, question.text, question.branches
            ):
                maps = capture.take()
                of_sites = [
                    self._at_latent_size(maps[site.name], site.grid(*run.latent_size), len(window), run)
                    for site in sites
                    if site.name in maps
                ]
                found[:, window.start : window.stop] = torch.stack(of_sites).mean(0)
        return found.numpy().astype(np.float16)

    def _at_latent_size(
        self, maps: torch.Tensor, grid: tuple[int, int], frames: int, run: Run
    ) -> torch.Tensor:
        """Maps (f·h·w, L) of a site as (words, f, h, w) at the size of the latents."""
        planes = [maps[:, list(word.positions)].float().mean(1) for word in self._words]
        volume = torch.stack(planes).view(len(planes), frames, *grid)
        return torch.nn.functional.interpolate(
            volume, run.latent_size, mode="bilinear", align_corners=False
        ).cpu()


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Which tokens of the source belong together. level: of the inversion that was read, log-SNR as felt at
    512². labels: (F, h, w) uint8, from 0.
    """

    level: float
    labels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One step of an inspection, read back. attention: (words, F, h, w); controls: by name (F, h, w)."""

    index: int
    level: float
    attention: NDArray[np.float16]
    controls: Mapping[str, NDArray[np.float16]]


def read_inspection(folder: Path) -> tuple[list[InspectedWord], list[Look]]:
    """The words and the looks, in the order of the steps, of a folder that an `Inspector` filled.

    Raises `OSError` or `ValueError` where it is damaged; an empty folder has neither.
    """
    if not (folder / WORDS).exists():
        return [], []
    words = [
        InspectedWord(word["text"], tuple(word["positions"]), word["region"])
        for word in json.loads((folder / WORDS).read_text("utf-8"))
    ]
    looks = []
    for file in sorted(folder.glob("step-*.npz")):
        with np.load(file, allow_pickle=False) as content:
            named = [name for name in content if name.startswith(_CONTROL)]
            controls = {name.removeprefix(_CONTROL): content[name] for name in named}
            index = int(file.stem.removeprefix("step-"))
            looks.append(Look(index, float(content["level"]), content["attention"], controls))
    return words, looks


def read_clusters(folder: Path) -> Clusters | None:
    """The clusters that an `Inspector` left in a folder; None where it left none.

    Raises `OSError` or `ValueError` where they are damaged.
    """
    if not (folder / CLUSTERS).exists():
        return None
    with np.load(folder / CLUSTERS, allow_pickle=False) as content:
        return Clusters(float(content["level"]), content["labels"])
