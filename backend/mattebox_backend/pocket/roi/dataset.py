"""The set that `pocket-roi` learns from: latents of pairs before and after an edit, masks, captions, and
whose words are whose; encoded once.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mattebox_backend.masks import area_coverage
from mattebox_backend.pocket.checkpoint import fingerprint, write_atomically
from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.roi.edits import FRAMES, MASK_MODES, REGIONS, Pair, sample_pair
from mattebox_backend.pocket.text import token_ids
from mattebox_backend.pocket.vae import to_pixels

ROI_SEEDS = 1_000_000_000
"""Of the scenes that are learnt from; the ones of measurements and benches lie elsewhere (`seeds`)."""
_PAIRS_AT_ONCE = 8


@dataclass(frozen=True, slots=True, eq=False)
class PairSet:
    """N pairs of two frames.

    source, edited: (N, 2, 4, h, w) float16 latents. masks: (N, modes, K, 2, h, w) uint8, the share of each
    latent cell that a region covers, 255 all of it, zero for regions that a pair lacks. tokens: (N, L) int16.
    words: (N, K, L) bool, the places of each region's words in the caption.
    """

    source: NDArray[np.float16]
    edited: NDArray[np.float16]
    masks: NDArray[np.uint8]
    tokens: NDArray[np.int16]
    words: NDArray[np.bool_]


def pair_set(base: PocketSd, count: int, work: Path) -> PairSet:
    """Build the set in `work`, or read it when it is there already for this number of pairs."""
    size = 8 * int(base.models.unet.config.sample_size)
    mark = fingerprint("roi-set", ROI_SEEDS, size, count, base.tokenizer.model_max_length)
    mark_file = work / "roi-set.json"
    files = {field.name: work / f"roi-{field.name}.npy" for field in fields(PairSet)}
    if mark_file.exists() and mark_file.read_text(encoding="utf-8") == mark:
        return PairSet(**{name: np.load(file) for name, file in files.items()})
    chunks: list[PairSet] = []
    log = RunLog(work / "progress.jsonl", "roi-set", count)
    for first in range(0, count, _PAIRS_AT_ONCE):
        numbers = range(first, min(count, first + _PAIRS_AT_ONCE))
        chunks.append(encode_pairs(base, [sample_pair(ROI_SEEDS + n, size) for n in numbers]))
        if first % (_PAIRS_AT_ONCE * 25) == 0:
            log.report(first + len(numbers))
    result = PairSet(
        *(np.concatenate([getattr(chunk, field.name) for chunk in chunks]) for field in fields(PairSet))
    )
    for name, file in files.items():
        buffer = io.BytesIO()
        np.save(buffer, getattr(result, name))
        write_atomically(file, buffer.getvalue())
    write_atomically(mark_file, mark.encode())
    return result


@torch.no_grad()
def encode_pairs(base: PocketSd, pairs: Sequence[Pair]) -> PairSet:
    """Pairs as the network reads them."""
    frames = np.concatenate([frames for pair in pairs for frames in (pair.source, pair.edited)])
    with torch.autocast("cpu", torch.bfloat16):
        mean = base.vae.encode(to_pixels(frames)).latent_dist.mean
    latents = (mean.float() * base.vae.config.scaling_factor).numpy().astype(np.float16)
    latents = latents.reshape(len(pairs), 2, FRAMES, *latents.shape[1:])
    height, width = latents.shape[-2:]
    masks = np.zeros((len(pairs), len(MASK_MODES), REGIONS, FRAMES, height, width), np.uint8)
    length = base.tokenizer.model_max_length
    words = np.zeros((len(pairs), REGIONS, length), np.bool_)
    for place, pair in enumerate(pairs):
        for region, (modes, phrase) in enumerate(zip(pair.masks, pair.phrases, strict=True)):
            for mode, mask in enumerate(modes):
                masks[place, mode, region] = np.rint(area_coverage(mask, height, width) * 255)
            words[place, region, word_places(base, pair.caption, phrase)] = True
    tokens = token_ids(base.tokenizer, [pair.caption for pair in pairs]).numpy().astype(np.int16)
    return PairSet(latents[:, 0], latents[:, 1], masks, tokens, words)


def word_places(base: PocketSd, caption: str, phrase: str) -> list[int]:
    """The places of a phrase among the tokens of a caption, in all its occurrences; none where it is not
    there.
    """
    haystack, needle = (
        base.tokenizer(text, add_special_tokens=False).input_ids for text in (caption, phrase)
    )
    places: list[int] = []
    for start in range(len(haystack) - len(needle) + 1):
        if haystack[start : start + len(needle)] == needle:
            places += range(start + 1, start + 1 + len(needle))  # after the start token
    return places
