"""Measures a scorer on scenes that it has never seen: whether it finds the right words among 31 wrong ones,
and how it tells shapes and colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mattebox_backend.pocket.score.captions import Claim, wrong_captions
from mattebox_backend.pocket.score.dataset import (
    COLOURS,
    SHAPES,
    WORLD,
    clear_objects,
    frame_claim,
    object_box,
    shrink,
)
from mattebox_backend.pocket.score.model import PocketScore, build_processor, to_pixel_values
from mattebox_backend.pocket.seeds import MEASURE_SEEDS
from mattebox_backend.pocket.text import token_ids
from mattebox_backend.world.captions import CaptionForm
from mattebox_backend.world.render import render_frame
from mattebox_backend.world.sampling import SceneOptions, sample_scene

CHOICES = 32
"""Captions among which the right one is to be found."""
_BATCH = 64
_WITH_OBJECTS = SceneOptions(counts=(0.0, 0.4, 0.4, 0.2))
_STAGE = 8


@dataclass(frozen=True, slots=True)
class ScoreFigures:
    """``frames``, ``crops``: how many whole frames and how many single objects were shown.

    frame_retrieval, crop_retrieval: share of them for which the right caption fits best of 32, of which the
    wrong ones differ from it by an attribute or two. frame_margin, crop_margin: the mean cosine with the
    right caption less that with the wrong ones. shape, colour, both: share of the single objects that the
    classifier names rightly.
    """

    frames: int
    crops: int
    frame_retrieval: float
    frame_margin: float
    crop_retrieval: float
    crop_margin: float
    shape: float
    colour: float
    both: float

    def as_dict(self) -> dict[str, float]:
        """The figures by name, for JSON and a table."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A picture (S, S, 3) uint8, and captions of which the first is right; shape and colour are classes, or
    -1.
    """

    picture: NDArray[np.uint8]
    captions: tuple[str, ...]
    shape: int = -1
    colour: int = -1


def measure_score(model: PocketScore, scenes: int) -> ScoreFigures:
    """Ask about a whole frame of each of ``scenes`` unseen scenes, and about every object that is clear to
    see in it.
    """
    frames: list[Question] = []
    crops: list[Question] = []
    for number in range(scenes):
        whole, *single = _questions(number, model.pixels)
        frames.append(whole)
        crops += single
    found = [_answers(model, frames), _answers(model, crops)]
    shape, colour = _named(model, crops)
    return ScoreFigures(
        frames=len(frames),
        crops=len(crops),
        frame_retrieval=retrieval(found[0]),
        frame_margin=margin(found[0]),
        crop_retrieval=retrieval(found[1]),
        crop_margin=margin(found[1]),
        shape=float(shape.mean()) if crops else 0.0,
        colour=float(colour.mean()) if crops else 0.0,
        both=float((shape & colour).mean()) if crops else 0.0,
    )


def retrieval(cosines: Sequence[NDArray[np.float32]]) -> float:
    """Share of the questions whose first cosine is above all its others; a tie is no answer."""
    right = [bool((row[0] > row[1:]).all()) for row in cosines]
    return float(np.mean(right)) if right else 0.0


def margin(cosines: Sequence[NDArray[np.float32]]) -> float:
    """The mean over the questions of the first cosine less the mean of its others."""
    gaps = [float(row[0] - row[1:].mean()) for row in cosines]
    return float(np.mean(gaps)) if gaps else 0.0


def _questions(number: int, size: int) -> Iterator[Question]:
    rng = np.random.default_rng((_STAGE, number))
    scene = sample_scene(MEASURE_SEEDS + number, _WITH_OBJECTS, width=WORLD, height=WORLD)
    time = number % scene.frames
    frame = render_frame(scene, time)
    yield Question(shrink(frame, size), _choices(frame_claim(scene, time, rng), rng))
    for index in clear_objects(scene, time):
        item = scene.objects[index]
        yield Question(
            shrink(frame[object_box(scene, time, index, rng)], size),
            _choices(Claim(scene, time, CaptionForm.OBJECTS, (index,)), rng),
            SHAPES.index(item.shape),
            COLOURS.index(item.colour_at(time)),
        )


def _choices(claim: Claim, rng: np.random.Generator) -> tuple[str, ...]:
    return (claim.text, *wrong_captions(claim, CHOICES - 1, rng))


@torch.no_grad()
def _answers(model: PocketScore, questions: Sequence[Question]) -> list[NDArray[np.float32]]:
    """For each question the cosines of its picture with its captions."""
    cosines = []
    for picture, question in zip(_seen(model, questions), questions, strict=True):
        read = model.clip.get_text_features(input_ids=token_ids(model.tokenizer, question.captions))
        shown = model.clip.visual_projection(picture[None])
        cosines.append(functional.cosine_similarity(shown, torch.as_tensor(read.pooler_output)).numpy())
    return cosines


@torch.no_grad()
def _named(model: PocketScore, questions: Sequence[Question]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether the classifier names the shape, and the colour, of each question."""
    if not questions:
        return np.zeros(0, bool), np.zeros(0, bool)
    shapes, colours = model.attributes(_seen(model, questions))
    wanted = np.array([(question.shape, question.colour) for question in questions])
    shape = shapes.argmax(dim=1).numpy() == wanted[:, 0]
    colour = colours.argmax(dim=1).numpy() == wanted[:, 1]
    return shape, colour


@torch.no_grad()
def _seen(model: PocketScore, questions: Sequence[Question]) -> Tensor:
    """(N, width) pooled states of the vision tower."""
    processor = build_processor(model.pixels)
    states = [torch.zeros(0, model.clip.config.vision_config.hidden_size)]
    for first in range(0, len(questions), _BATCH):
        pictures = torch.from_numpy(np.stack([q.picture for q in questions[first : first + _BATCH]]))
        pixels = to_pixel_values(pictures, processor)
        states.append(torch.as_tensor(model.clip.vision_model(pixel_values=pixels).pooler_output))
    return torch.cat(states)
