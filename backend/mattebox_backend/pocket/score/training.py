"""Trains the scorer: both towers by contrast (Radford et al., 2021), with wrong captions beside the right
ones, and the attribute classifier along with them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizer

from mattebox_backend.pocket.checkpoint import fingerprint
from mattebox_backend.pocket.optimizer import build_optimizers
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.score.config import PocketScoreConfig
from mattebox_backend.pocket.score.dataset import COLOURS, ScoreSet
from mattebox_backend.pocket.score.model import (
    AttributeHead,
    DenseHead,
    PocketScore,
    build_clip,
    build_processor,
    to_pixel_values,
)
from mattebox_backend.pocket.training import Stretch, put_average

_NAME = "score"
_STAGE = 7
"""The number of this training among those that draw from a seed."""
_SHARPEST = math.log(100)
"""The logarithm of the largest scale of the cosines (Radford et al., section 2.5)."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """images: (B, S, S, 3) uint8. tokens: (T, L) int64, every caption of the batch once. right: (B,) int64,
    the row of each picture's own. shape, colour: (B,) int64, -1 where there is none. seen: (B, S, S) int64,
    see `ScoreSet`.
    """

    images: Tensor
    tokens: Tensor
    right: Tensor
    shape: Tensor
    colour: Tensor
    seen: Tensor


def train_score(
    config: PocketScoreConfig,
    data: ScoreSet,
    tokenizer: CLIPTokenizer,
    work: Path,
    on_checkpoint: Callable[[int, PocketScore], None] | None = None,
) -> PocketScore:
    """Train in ``work``, or go on from the checkpoint there; returns the exponentially averaged weights.

    ``on_checkpoint`` gets the step and the averaged model.
    """
    torch.manual_seed(config.seed)
    clip = build_clip(config, tokenizer).train()
    head = AttributeHead(config.vision.width).train()
    dense = DenseHead(config.vision.width, config.vision.patch).train()
    processor, settings = build_processor(config.vision.size), config.training

    def loss(step: int) -> dict[str, Tensor]:
        batch = draw_batch(data, config, np.random.default_rng((config.seed, _STAGE, step)))
        pixels = to_pixel_values(batch.images, processor)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
            vision = clip.vision_model(pixel_values=pixels)
            seen = vision.pooler_output
            read = clip.text_model(input_ids=batch.tokens).pooler_output
            pictures, texts = clip.visual_projection(seen), clip.text_projection(read)
            shapes, colours = head(seen)
            whose = dense(vision.last_hidden_state[:, 1:])
        scale = clip.logit_scale.clamp(max=_SHARPEST).exp()
        contrast = contrastive_error(pictures.float(), texts.float(), batch.right, scale)
        named = attribute_error(shapes, batch.shape) + attribute_error(colours, batch.colour)
        shown = dense_error(whose[0], whose[1], whose[2], batch.seen)
        return {
            "contrast": contrast,
            "attributes": settings.attribute_weight * named,
            "dense": settings.dense_weight * shown,
        }

    def averaged(average: dict[str, Tensor]) -> PocketScore:
        model = PocketScore(copy.deepcopy(clip), copy.deepcopy(head), tokenizer)
        put_average(average, "clip", model.clip)
        put_average(average, "attributes", model.attributes)
        return model

    def tell(step: int, average: dict[str, Tensor]) -> None:
        if on_checkpoint is not None:
            on_checkpoint(step, averaged(average))

    stretch = Stretch(
        work / "score.safetensors",
        fingerprint(_NAME, config.model_dump(exclude={"checkpoint_every"})),
        {"clip": clip, "attributes": head, "dense": dense},
        _optimizers(clip, [head, dense], config),
        settings.steps,
        settings.learning_rate,
        settings.warmup,
        settings.ema,
        config.checkpoint_every,
    )
    return averaged(stretch.run(loss, RunLog(work / "progress.jsonl", _NAME, settings.steps), 0, tell))


def contrastive_error(pictures: Tensor, texts: Tensor, right: Tensor, scale: Tensor) -> Tensor:
    """The mean cross-entropy of finding each picture's text among all texts, and each text's picture among
    the pictures.

    pictures: (B, C), texts: (T, C), float32, of any length. right: (B,) the row of each picture's text.
    Texts that are nobody's are wrong for every picture; of pictures that share a text, each is right for it.
    """
    logits = scale * functional.normalize(pictures, dim=1) @ functional.normalize(texts, dim=1).T
    to_text = functional.cross_entropy(logits, right)
    same = (right[:, None] == right[None, :]).float()
    to_picture = functional.cross_entropy(logits[:, right].T, same / same.sum(dim=1, keepdim=True))
    return (to_text + to_picture) / 2


def attribute_error(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of logits (B, K) over the pictures whose class (B,) is known (not -1); 0 without any."""
    known = classes >= 0
    if not known.any():
        return logits.float().sum() * 0
    return functional.cross_entropy(logits[known].float(), classes[known])


def dense_error(objects: Tensor, shapes: Tensor, colours: Tensor, seen: Tensor) -> Tensor:
    """How far what the patches say is from what they show.

    objects: (B, P, p²) logits of each pixel being an object's, by binary cross-entropy. shapes, colours: (B,
    P, ·) logits, by cross-entropy, over the patches of which a quarter is one object's. seen: (B, S, S) int64
    as in `ScoreSet`; P patches of p² pixels make S², in reading order.
    """
    count, size = seen.shape[0], seen.shape[1]
    side = math.isqrt(objects.shape[2])
    grid = size // side
    cells = seen.reshape(count, grid, side, grid, side).transpose(2, 3).reshape(count, grid * grid, -1)
    error = functional.binary_cross_entropy_with_logits(objects.float(), (cells >= 0).float())
    most, _ = cells.mode(dim=2)
    highest = cells.amax(dim=2)
    label = torch.where(most >= 0, most, highest)
    clear = (cells == label[..., None]).float().mean(dim=2) >= 0.25
    label = torch.where(clear & (label >= 0), label, -1)
    shape = torch.where(label >= 0, label // len(COLOURS), -1)
    colour = torch.where(label >= 0, label % len(COLOURS), -1)
    named = attribute_error(shapes.flatten(0, 1), shape.flatten())
    return error + named + attribute_error(colours.flatten(0, 1), colour.flatten())


def draw_batch(data: ScoreSet, config: PocketScoreConfig, rng: np.random.Generator) -> Batch:
    """Pictures drawn with one of their right captions and some of the wrong ones."""
    count = config.training.batch
    chosen = rng.integers(len(data.images), size=count)
    version = rng.integers(data.right.shape[1], size=count)
    picked = rng.integers(data.wrong.shape[2], size=(count, config.training.wrong))
    wrong = data.wrong[chosen[:, None], version[:, None], picked]
    rows, place = np.unique(np.concatenate([data.right[chosen, version], wrong.ravel()]), return_inverse=True)
    tokens = data.tokens[rows].astype(np.int64)
    return Batch(
        torch.from_numpy(data.images[chosen]),
        torch.from_numpy(tokens[:, : _longest(tokens)]),
        torch.from_numpy(place[:count].astype(np.int64)),
        torch.from_numpy(data.shape[chosen].astype(np.int64)),
        torch.from_numpy(data.colour[chosen].astype(np.int64)),
        torch.from_numpy(data.seen[chosen].astype(np.int64)),
    )


def _longest(tokens: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> int:
    """Tokens up to which some row is not padding yet: a row pads with what it ends on."""
    last = tokens[:, -1:]
    return int((tokens != last).sum(axis=1).max()) + 1


def _optimizers(
    clip: CLIPModel, heads: Sequence[nn.Module], config: PocketScoreConfig
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside both towers; AdamW for what reads in, what reads out, and for vectors."""
    inner: list[nn.Parameter] = []
    others: list[nn.Parameter] = [p for head in heads for p in head.parameters()]
    for name, parameter in clip.named_parameters():
        (inner if ".encoder.layers." in name and parameter.ndim == 2 else others).append(parameter)
    return build_optimizers(config.training.optimizer, inner, others, config.training.learning_rate)
