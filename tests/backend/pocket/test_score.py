"""Training the scorer: wrong captions, a training that goes on, and a folder that is a CLIP."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.pocket.cli import app
from mattebox_backend.pocket.config import TextConfig
from mattebox_backend.pocket.errors import InvalidConfig, PocketError, UnusableCheckpoint
from mattebox_backend.pocket.score.captions import Claim, wrong_captions
from mattebox_backend.pocket.score.config import (
    PocketScoreConfig,
    SetConfig,
    TrainingConfig,
    VisionConfig,
    load_score_config,
)
from mattebox_backend.pocket.score.dataset import COLOURS, SHAPES, ScoreSet, examples_of, score_set
from mattebox_backend.pocket.score.export import export_score, load_score
from mattebox_backend.pocket.score.measure import margin, measure_score, retrieval
from mattebox_backend.pocket.score.model import PLACE_SCALE, PocketScore, build_clip, place_states
from mattebox_backend.pocket.score.training import (
    attribute_error,
    contrastive_error,
    dense_error,
    draw_batch,
    train_score,
)
from mattebox_backend.pocket.seeds import SCORE_SEEDS
from mattebox_backend.pocket.tokenizer import build_tokenizer
from mattebox_backend.world import (
    Background,
    BackgroundColour,
    CaptionForm,
    Colour,
    Scene,
    SceneObject,
    Shape,
    render_frame,
    sample_scene,
)
from transformers import CLIPModel, CLIPProcessor
from typer.testing import CliRunner

TINY = PocketScoreConfig(
    checkpoint_every=1,
    embedding=8,
    vision=VisionConfig(size=16, patch=8, width=8, layers=1, heads=2),
    text=TextConfig(width=8, layers=1, heads=2, length=32),
    set=SetConfig(scenes=6, wrong=3),
    training=TrainingConfig(steps=4, batch=4, warmup=1),
)
SCENE = Scene(
    (
        SceneObject(Shape.CIRCLE, Colour.RED, 30, 64, 20),
        SceneObject(Shape.SQUARE, Colour.BLUE, 95, 64, 20),
    ),
    Background(BackgroundColour.GRAY),
)


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ScoreSet:
    return score_set(TINY, build_tokenizer(32), tmp_path_factory.mktemp("score") / "set")


def train(config: PocketScoreConfig, data: ScoreSet, work: Path, told: Any = None) -> PocketScore:
    return train_score(config, data, build_tokenizer(32), work, told)


def weights(model: PocketScore) -> dict[str, torch.Tensor]:
    return {**model.clip.state_dict(), **model.attributes.state_dict()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def wrong_of(form: CaptionForm, order: tuple[int, ...], scene: Scene = SCENE, count: int = 40) -> set[str]:
    return set(wrong_captions(Claim(scene, 0, form, order), count, np.random.default_rng(0)))


def test_wrong_captions_swap_who_has_what_and_never_say_what_is_true() -> None:
    wrong = wrong_of(CaptionForm.OBJECTS, (0, 1), count=200)
    assert {"a blue circle and a red square", "a red circle and a blue star"} <= wrong
    assert not {"a red circle and a blue square", "a blue square and a red circle"} & wrong
    full = wrong_of(CaptionForm.FULL, (1, 0), count=200)
    assert "a blue square and a red circle on a pink background" in full
    assert "a blue square and a red circle on a gray background" not in full
    related = wrong_of(CaptionForm.RELATION, (0, 1), count=200)
    assert "a blue square left of a red circle" in related
    assert "a red circle left of a blue square" not in related


def test_what_another_object_is_like_is_no_wrong_caption_of_one() -> None:
    wrong = wrong_of(CaptionForm.OBJECTS, (0,), count=60)
    assert {"a blue circle", "a red square"} <= wrong
    assert "a blue square" not in wrong
    twins = replace(SCENE, objects=(SCENE.objects[0], replace(SCENE.objects[0], x=95)))
    assert "a red circle right of a red circle" not in wrong_of(CaptionForm.RELATION, (0, 1), twins, 200)


def test_there_are_only_so_many_other_backgrounds() -> None:
    wrong = wrong_of(CaptionForm.FULL, ())
    assert len(wrong) == 15
    assert "a gray background" not in wrong
    assert "a gray background with checks" in wrong


def test_crops_show_the_object_that_is_said_and_bare_ones_none() -> None:
    told = 0
    for number in range(30):
        scene = sample_scene(SCORE_SEEDS + number)
        for example in examples_of(scene, 3, np.random.default_rng(number)):
            rows, columns = example.box
            assert 0 <= rows.start < rows.stop <= 128
            assert 0 <= columns.start < columns.stop <= 128
            if example.shown is not None:
                pose = scene.objects[example.shown].pose(3, 128, 128)
                assert rows.start < pose.y < rows.stop
                assert columns.start < pose.x < columns.stop
                assert all(claim.order == (example.shown,) for claim in example.claims)
            elif rows.stop - rows.start < 100:
                told += 1
                without = render_frame(replace(scene, objects=()), 3)
                shown = render_frame(scene, 3)[example.box].astype(int)
                assert np.abs(shown - without[example.box]).max() <= 1
                assert all(claim.order == () for claim in example.claims)
    assert told > 2


def test_the_set_is_read_again_and_holds_what_it_says(data: ScoreSet, tmp_path: Path) -> None:
    tokenizer = build_tokenizer(32)
    first = score_set(TINY, tokenizer, tmp_path)
    again = score_set(TINY, tokenizer, tmp_path)
    for name in ("images", "tokens", "right", "wrong", "shape", "colour", "seen"):
        assert np.array_equal(getattr(again, name), getattr(first, name))
        assert np.array_equal(getattr(data, name), getattr(first, name))
    texts = tokenizer.batch_decode(data.tokens.astype(int), skip_special_tokens=True)
    for n in range(len(data.images)):
        right, wrong = [texts[k] for k in data.right[n]], {texts[k] for k in data.wrong[n].ravel()}
        assert not set(right) & wrong
        if data.shape[n] >= 0:
            assert len(COLOURS) * data.shape[n] + data.colour[n] in data.seen[n]
            assert all(f"{COLOURS[data.colour[n]]} {SHAPES[data.shape[n]]}" in text for text in right)


def test_the_contrast_is_the_mean_of_both_cross_entropies() -> None:
    rng = np.random.default_rng(0)
    pictures, texts, scale = rng.normal(size=(4, 5)), rng.normal(size=(6, 5)), 3.0
    right = [2, 0, 2, 5]  # two pictures share a text; three texts are nobody's

    def logit(picture: int, text: int) -> float:
        one, other = pictures[picture], texts[text]
        return scale * float(one @ other) / math.sqrt(float(one @ one) * float(other @ other))

    to_text = to_picture = 0.0
    for picture, own in enumerate(right):
        everything = sum(math.exp(logit(picture, text)) for text in range(6))
        to_text -= math.log(math.exp(logit(picture, own)) / everything) / 4
        everything = sum(math.exp(logit(other, own)) for other in range(4))
        fitting = [other for other in range(4) if right[other] == own]
        for other in fitting:
            to_picture -= math.log(math.exp(logit(other, own)) / everything) / len(fitting) / 4
    found = contrastive_error(
        torch.tensor(pictures, dtype=torch.float32),
        torch.tensor(texts, dtype=torch.float32),
        torch.tensor(right),
        torch.tensor(scale),
    )
    assert float(found) == pytest.approx((to_text + to_picture) / 2, rel=1e-5)


def test_pictures_of_no_class_have_no_attribute_error() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    expected = -math.log(math.exp(0.0) / (math.exp(0.0) + math.exp(1.0)))
    assert float(attribute_error(logits, torch.tensor([-1, 0, -1]))) == pytest.approx(expected)
    assert float(attribute_error(logits, torch.tensor([-1, -1, -1]))) == 0


def test_patches_are_asked_for_their_pixels_and_for_whose_they_are() -> None:
    rng = np.random.default_rng(0)
    seen = np.full((2, 4, 4), -1)
    seen[0, :2, :2] = 9  # the first patch is one object's, the third a quarter another's
    seen[0, 2, 0] = 3
    seen[1, 3, 1:3] = [5, 7]
    objects, shapes, colours = (
        rng.normal(size=(2, 4, 4)),
        rng.normal(size=(2, 4, 6)),
        rng.normal(size=(2, 4, 8)),
    )
    places = [[(row, column) for row in (r, r + 1) for column in (c, c + 1)] for r in (0, 2) for c in (0, 2)]
    pixels = named = 0.0
    labelled = [(0, 0, 9), (0, 2, 3), (1, 2, 5), (1, 3, 7)]
    for picture in range(2):
        for patch, place in enumerate(places):
            for pixel, (row, column) in enumerate(place):
                chance = 1 / (1 + math.exp(-objects[picture, patch, pixel]))
                pixels -= math.log(chance if seen[picture, row, column] >= 0 else 1 - chance) / 32
    for picture, patch, label in labelled:
        for logits, right in ((shapes[picture, patch], label // 8), (colours[picture, patch], label % 8)):
            named -= math.log(math.exp(logits[right]) / np.exp(logits).sum()) / len(labelled)
    given = [torch.tensor(logits, dtype=torch.float32) for logits in (objects, shapes, colours)]
    found = dense_error(*given, torch.tensor(seen))
    assert float(found) == pytest.approx(pixels + named, rel=1e-5)


def test_places_begin_with_neighbours_alike() -> None:
    places = place_states(4, 8)
    assert places.shape == (16, 8)
    slow = math.sin(2 / 100), math.cos(2 / 100), math.sin(1 / 100), math.cos(1 / 100)
    fast = math.sin(2), math.cos(2), math.sin(1), math.cos(1)  # column 2 of row 1
    expected = [value for pair in zip(fast, slow, strict=True) for value in pair]
    np.testing.assert_allclose(places[4 + 2], expected, atol=1e-6)
    clip = build_clip(TINY, build_tokenizer(32))
    learnt = clip.vision_model.embeddings.position_embedding.weight[1:]
    torch.testing.assert_close(learnt.detach(), PLACE_SCALE * place_states(2, 8))


def test_a_batch_holds_every_caption_once_and_cuts_off_padding(data: ScoreSet) -> None:
    batch = draw_batch(data, TINY, np.random.default_rng(0))
    rows = [tuple(row) for row in batch.tokens.tolist()]
    assert len(set(rows)) == len(rows)
    assert batch.tokens.shape[1] < 32
    end = build_tokenizer(32).eos_token_id
    assert all(end in row for row in rows)
    assert len(batch.right) == len(batch.images) == 4
    assert not (batch.tokens[:, -1] != end).any()


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_broken_off_training_ends_with_the_weights_of_an_unbroken_one(
    data: ScoreSet, tmp_path: Path, optimizer: Any
) -> None:
    def stop(step: int, model: PocketScore) -> None:
        if step == 2:
            raise Stopped

    config = TINY.model_copy(update={"training": TINY.training.model_copy(update={"optimizer": optimizer})})
    whole = train(config, data, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(config, data, tmp_path / "broken", stop)
    resumed = train(config, data, tmp_path / "broken")
    assert equal(weights(whole), weights(resumed))
    longer = config.model_copy(update={"embedding": 4})
    with pytest.raises(UnusableCheckpoint, match="belongs to another configuration"):
        train(longer, data, tmp_path / "broken")


def test_training_learns_what_it_is_shown(data: ScoreSet, tmp_path: Path) -> None:
    training = TrainingConfig(steps=120, batch=8, warmup=5, learning_rate=5e-3, ema=0.9)
    config = TINY.model_copy(update={"training": training, "checkpoint_every": 120})
    model = train(config, data, tmp_path)
    log = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    for term in ("contrast", "attributes", "dense"):
        assert log[-1][term] < 0.8 * log[0][term], term
    assert weights(model)["logit_scale"].isfinite()


def test_one_command_trains_measures_and_writes_what_any_clip_code_loads(tmp_path: Path) -> None:
    config = tmp_path / "score.toml"
    config.write_text(
        "embedding = 8\n[vision]\nsize = 16\npatch = 8\nwidth = 8\nlayers = 1\nheads = 2\n"
        "[text]\nwidth = 8\nlayers = 1\nheads = 2\nlength = 32\n[set]\nscenes = 3\nwrong = 2\n"
        "[training]\nsteps = 2\nbatch = 3\n"
    )
    folder = tmp_path / "made" / "score"
    arguments = ["--work", tmp_path / "work", "--export", folder, "--config", config]
    outcome = CliRunner().invoke(
        app, ["pocket-score", *map(str, arguments), "--scenes", "2", "--threads", "1"]
    )
    assert outcome.exit_code == 0, outcome.output
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["frames"] == 2
    assert {"frame_retrieval", "crop_retrieval", "shape", "colour"} <= figures.keys()
    assert "Measured on 2 whole frames" in (folder / "README.md").read_text()
    assert (folder / "training.toml").read_text() == config.read_text()

    model = CLIPModel.from_pretrained(folder, local_files_only=True)
    assert model.dtype == torch.float16
    processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
    picture = render_frame(sample_scene(3), 0)
    inputs = processor(text=["a red star"], images=[picture], return_tensors="pt", padding=True)
    assert inputs["pixel_values"].shape == (1, 3, 16, 16)
    assert model.float()(**inputs).logits_per_image.isfinite().all()
    classes = json.loads((folder / "attributes.json").read_text())
    assert classes["shape"] == list(SHAPES)
    assert classes["colour"] == list(COLOURS)


def test_a_folder_gives_back_what_was_written(data: ScoreSet, tmp_path: Path) -> None:
    model = train(TINY, data, tmp_path / "work")
    export_score(tmp_path / "score", model, {})
    loaded, written = weights(load_score(tmp_path / "score")), weights(model)
    for name, value in written.items():
        if value.is_floating_point():
            assert torch.equal(loaded[name], value.half().float()), name
    (tmp_path / "score" / "attributes.safetensors").write_bytes(b"no weights")
    with pytest.raises(PocketError, match="cannot be loaded"):
        load_score(tmp_path / "score")
    with pytest.raises(PocketError, match=r"holds no attributes\.safetensors"):
        load_score(tmp_path)


def test_an_untrained_scorer_is_measured_near_chance(data: ScoreSet, tmp_path: Path) -> None:
    figures = measure_score(train(TINY, data, tmp_path), 12)
    assert figures.frames == 12
    assert figures.crops > 6
    assert figures.crop_retrieval < 0.4
    assert figures.both < 0.4


def test_a_tie_finds_nothing_and_a_margin_is_over_the_mean() -> None:
    rows = [np.array(row, np.float32) for row in ([0.5, 0.1, 0.3], [0.2, 0.2, 0.1], [0.1, 0.4])]
    assert retrieval(rows) == pytest.approx(1 / 3)
    assert margin(rows) == pytest.approx((0.3 + 0.05 - 0.3) / 3)
    assert retrieval([]) == margin([]) == 0


def test_a_wrong_value_in_the_configuration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "score.toml"
    path.write_text("[vision]\npatch = 0\n")
    with pytest.raises(InvalidConfig, match=r"'vision\.patch'"):
        load_score_config(path)
    path.write_text("[vision]\nsize = 30\n")
    with pytest.raises(InvalidConfig, match="no whole number of patches of 4"):
        load_score_config(path)
    path.write_text("[training]\nstepps = 3\n")
    with pytest.raises(InvalidConfig, match=r"'training\.stepps'"):
        load_score_config(path)
    assert load_score_config().training.steps >= 1000
