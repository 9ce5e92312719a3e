"""The set that the scorer learns from: whole frames, objects and bare background of rendered scenes, each
with right captions and wrong ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save
from transformers import CLIPTokenizer

from mattebox_backend.metrics.boxes import Box, square_box
from mattebox_backend.pocket.checkpoint import fingerprint, write_atomically
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.score.captions import Claim, wrong_captions
from mattebox_backend.pocket.score.config import PocketScoreConfig
from mattebox_backend.pocket.seeds import SCORE_SEEDS
from mattebox_backend.pocket.text import token_ids
from mattebox_backend.world.captions import CaptionForm
from mattebox_backend.world.render import owners, render_frame, visible_shares
from mattebox_backend.world.sampling import sample_scene
from mattebox_backend.world.scene import Scene
from mattebox_backend.world.vocabulary import Colour, Shape

WORLD = 128
"""Pixels of the side of a rendered frame."""
CAPTIONS = 2
"""Right captions that each picture comes with."""
LEAST_SEEN = 0.7
"""Share of an object that must be in view for a picture to show it."""
UNCLEAR = (0.3, 0.7)
"""How far along a bloom is where no word fits its colour."""
SHAPES, COLOURS = tuple(Shape), tuple(Colour)
"""The classes of the attribute classifier, in its order."""
_REPORT_EVERY = 1000
_FORMS = (CaptionForm.FULL, CaptionForm.OBJECTS, CaptionForm.RELATION, CaptionForm.RELATION_FULL)


@dataclass(frozen=True, slots=True)
class Example:
    """A part of a frame, what may be said of it, and the index of the one object that it shows, where it is
    one.
    """

    box: Box
    claims: tuple[Claim, ...]
    shown: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ScoreSet:
    """N pictures and what is said of them.

    images: (N, S, S, 3) uint8. tokens: (T, L) int16, every caption once. right: (N, V) int32, V captions of
    each picture, as rows of tokens. wrong: (N, V, K) int32, K wrong ones of each right one. shape, colour:
    (N,) int8 classes of the one object, -1 for a picture that does not show one alone. seen: (N, S, S) int8,
    the class of the object at every pixel, shape · number of colours + colour, -1 for the background.
    """

    images: NDArray[np.uint8]
    tokens: NDArray[np.int16]
    right: NDArray[np.int32]
    wrong: NDArray[np.int32]
    shape: NDArray[np.int8]
    colour: NDArray[np.int8]
    seen: NDArray[np.int8]


def score_set(config: PocketScoreConfig, tokenizer: CLIPTokenizer, work: Path) -> ScoreSet:
    """Build the set in ``work``, or read it when it is there already for this configuration."""
    mark = fingerprint(
        "score", config.seed, config.vision.size, config.text.length, config.set.model_dump(), CAPTIONS
    )
    mark_file, set_file = work / "set.json", work / "set.safetensors"
    if mark_file.exists() and mark_file.read_text(encoding="utf-8") == mark:
        return ScoreSet(**load_file(set_file))
    made = _build(config, tokenizer, RunLog(work / "progress.jsonl", "set", config.set.scenes))
    write_atomically(set_file, save({field.name: getattr(made, field.name) for field in fields(made)}))
    write_atomically(mark_file, mark.encode())
    return made


def _build(config: PocketScoreConfig, tokenizer: CLIPTokenizer, log: RunLog) -> ScoreSet:
    places: dict[str, int] = {}
    images, right, wrong, shape, colour, seen = [], [], [], [], [], []

    def place(text: str) -> int:
        return places.setdefault(text, len(places))

    for number in range(config.set.scenes):
        rng = np.random.default_rng((config.seed, SCORE_SEEDS + number))
        scene = sample_scene(SCORE_SEEDS + number, width=WORLD, height=WORLD)
        time = number % scene.frames
        frame, owner = render_frame(scene, time), owners(scene, time)
        classes = [
            len(COLOURS) * SHAPES.index(o.shape) + COLOURS.index(o.colour_at(time)) for o in scene.objects
        ]
        labels = np.array([*classes, -1], np.int8)[owner]
        for example in examples_of(scene, time, rng):
            images.append(_soften(shrink(frame[example.box], config.vision.size), config.set.soft_share, rng))
            right.append([place(claim.text) for claim in example.claims])
            wrong.append([[place(t) for t in _wrong(c, config.set.wrong, rng)] for c in example.claims])
            item = None if example.shown is None else scene.objects[example.shown]
            shape.append(-1 if item is None else SHAPES.index(item.shape))
            colour.append(-1 if item is None else COLOURS.index(item.colour_at(time)))
            seen.append(_sampled(labels[example.box], config.vision.size))
        if (number + 1) % _REPORT_EVERY == 0:
            log.report(number + 1)
    return ScoreSet(
        np.stack(images),
        token_ids(tokenizer, list(places)).numpy().astype(np.int16),
        np.array(right, np.int32),
        np.array(wrong, np.int32),
        np.array(shape, np.int8),
        np.array(colour, np.int8),
        np.stack(seen),
    )


def examples_of(scene: Scene, time: int, rng: np.random.Generator) -> Iterator[Example]:
    """The whole frame; up to two objects close by, which are clear to see; a place without objects, or the
    frame once more, of which one thing alone is said.
    """
    seen = clear_objects(scene, time)
    whole = (slice(0, scene.height), slice(0, scene.width))
    yield Example(whole, tuple(frame_claim(scene, time, rng) for _ in range(CAPTIONS)))
    for index in rng.permutation(seen).astype(int).tolist()[:2]:
        forms = (CaptionForm.OBJECTS, CaptionForm.OBJECTS if rng.random() < 0.5 else CaptionForm.FULL)
        claims = tuple(Claim(scene, time, form, (index,)) for form in forms)
        yield Example(object_box(scene, time, index, rng), claims, index)
    bare = bare_box(scene, time, rng)
    behind = Claim(scene, time, CaptionForm.FULL, ())
    if bare is not None and rng.random() < 0.4:
        yield Example(bare, (behind,) * CAPTIONS)
    elif seen:
        one = Claim(scene, time, _FORMS[int(rng.integers(2))], (seen[int(rng.integers(len(seen)))],))
        yield Example(whole, (behind, one))


def frame_claim(scene: Scene, time: int, rng: np.random.Generator) -> Claim:
    """A caption of the whole scene, its objects in an order that tells nothing of where they are."""
    order = tuple(int(n) for n in rng.permutation(len(scene.objects)))
    return Claim(scene, time, _FORMS[int(rng.integers(len(_FORMS)))], order)


def clear_objects(scene: Scene, time: int) -> list[int]:
    """The objects whose look can be told at ``time``: in view, and not halfway through a bloom."""
    shares = visible_shares(scene, time)
    low, high = UNCLEAR
    return [
        n
        for n, item in enumerate(scene.objects)
        if shares[n] >= LEAST_SEEN and not (item.bloom and low < item.bloom.progress(time) < high)
    ]


def object_box(scene: Scene, time: int, index: int, rng: np.random.Generator) -> Box:
    """A square around an object, from close by to twice as wide, not quite in the middle."""
    pose = scene.objects[index].pose(time, scene.width, scene.height)
    side = pose.size * 2.1 * float(2.0 ** rng.uniform(0, 1))
    shift = rng.uniform(-0.08, 0.08, 2) * side
    return square_box(pose.y + shift[0], pose.x + shift[1], side, scene.height, scene.width)


def bare_box(scene: Scene, time: int, rng: np.random.Generator) -> Box | None:
    """A square of 28 to 64 pixels that no object reaches into; None where a few draws find none."""
    poses = [item.pose(time, scene.width, scene.height) for item in scene.objects]
    for _ in range(8):
        side = rng.uniform(28, 64)
        y, x = rng.uniform(side / 2, scene.height - side / 2), rng.uniform(side / 2, scene.width - side / 2)
        reach = side / 2 + 1
        if all(max(abs(pose.x - x), abs(pose.y - y)) > reach + pose.size for pose in poses):
            return square_box(y, x, side, scene.height, scene.width)
    return None


def shrink(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """A square picture at the size that the scorer sees, as its `CLIPImageProcessor` brings it there."""
    resized = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.uint8)


def _sampled(labels: NDArray[np.int8], size: int) -> NDArray[np.int8]:
    """Labels of a square of pixels at another size."""
    return np.asarray(cv2.resize(labels, (size, size), interpolation=cv2.INTER_NEAREST), np.int8)


def _soften(picture: NDArray[np.uint8], share: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur and noise on that share of the pictures."""
    if rng.random() >= share:
        return picture
    soft = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), float(rng.uniform(0.3, 1.2)))
    soft += rng.normal(0, rng.uniform(0, 6), picture.shape).astype(np.float32)
    return np.clip(np.rint(soft), 0, 255).astype(np.uint8)


def _wrong(claim: Claim, count: int, rng: np.random.Generator) -> Sequence[str]:
    """``count`` wrong captions; where there are fewer, some come again."""
    found = wrong_captions(claim, count, rng)
    return [found[n % len(found)] for n in range(count)]
