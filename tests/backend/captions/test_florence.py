"""Florence-2 as a captioner: transformers' real classes, tiny, taught to tell red from blue."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from mattebox_backend.backbones.folder import ModelFolder
from mattebox_backend.captions import CaptionRequest, CaptionStage, Detail, describe
from mattebox_backend.captions.florence import Florence
from mattebox_backend.captions.request import eight_bit
from mattebox_backend.device import Device
from mattebox_backend.errors import Cancelled, InvalidEdit, ModelRefused
from mattebox_backend.models.registry import ModelRegistry
from mattebox_media import write_clip
from safetensors.torch import load_file, save_file

CPU = Device("cpu", 0, "float32")


def load(folder: Path) -> Florence:
    return Florence.load(ModelFolder(folder.name, folder), CPU)


def nothing() -> None:
    pass


@pytest.fixture(scope="module")
def captioner(tiny_captioner: Path) -> Florence:
    return load(tiny_captioner)


@pytest.fixture
def copy(tiny_captioner: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_captioner, tmp_path / "copy"))


@pytest.mark.parametrize("color", ["red", "blue"])
@pytest.mark.parametrize(("height", "width"), [(40, 60), (300, 20), (1, 3)])
def test_a_picture_of_any_size_is_described_as_it_is(
    captioner: Florence, florences: ModuleType, color: str, height: int, width: int
) -> None:
    picture = florences.wall(color, height, width)
    assert captioner.describe(picture, Detail.SENTENCE, nothing) == f"a {color} wall"


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        (Detail.SENTENCE, "a red wall"),
        (Detail.DETAILED, "a red wall on gray ground"),
        (Detail.PARAGRAPH, "the picture shows a red wall on gray ground"),
    ],
)
def test_as_much_is_said_as_was_asked_for(
    captioner: Florence, florences: ModuleType, detail: Detail, words: str
) -> None:
    assert captioner.describe(florences.wall("red"), detail, nothing) == words


def test_a_folder_as_the_hub_lays_it_out_says_the_same(copy: Path, florences: ModuleType) -> None:
    florences.as_the_hub_has_it(copy)
    captioner = load(copy)
    for color in florences.COLORS:
        assert captioner.describe(florences.wall(color), Detail.SENTENCE, nothing) == f"a {color} wall"


def test_a_model_that_was_to_be_sampled_from_still_says_the_same_each_time(
    copy: Path, captioner: Florence
) -> None:
    path = copy / "generation_config.json"
    sampled = json.loads(path.read_text()) | {"do_sample": True, "num_beams": 1, "temperature": 5.0}
    path.write_text(json.dumps(sampled))
    unsure = np.random.default_rng(3).integers(0, 256, (50, 50, 3), np.uint8)
    expected = captioner.describe(unsure, Detail.PARAGRAPH, nothing)
    for seed in range(3):
        torch.manual_seed(seed)
        assert load(copy).describe(unsure, Detail.PARAGRAPH, nothing) == expected


def test_it_asks_before_every_word_whether_to_go_on(captioner: Florence, florences: ModuleType) -> None:
    asked: list[None] = []
    captioner.describe(florences.wall("red"), Detail.PARAGRAPH, lambda: asked.append(None))
    assert len(asked) > len(["the", "picture", "shows", "a", "red", "wall", "on", "gray", "ground"])

    def stop() -> None:
        asked.append(None)
        if len(asked) == 3:
            raise Cancelled("Enough.")

    asked.clear()
    with pytest.raises(Cancelled, match="Enough"):
        captioner.describe(florences.wall("red"), Detail.PARAGRAPH, stop)
    assert len(asked) == 3
    assert captioner.describe(florences.wall("blue"), Detail.SENTENCE, nothing) == "a blue wall"


def test_half_precision_says_the_same(tiny_captioner: Path, florences: ModuleType) -> None:
    half = Florence.load(ModelFolder("half", tiny_captioner), Device("cpu", 0, "bfloat16"))
    assert half.module.dtype == torch.bfloat16
    assert half.describe(florences.wall("blue"), Detail.SENTENCE, nothing) == "a blue wall"


def test_pickled_weights_are_refused(copy: Path) -> None:
    weights = copy / "model.safetensors"
    torch.save(load_file(weights), copy / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(ModelRefused, match=r"pytorch_model\.bin, a pickle that could run any code"):
        load(copy)


def test_weights_in_another_layout_are_refused_and_never_filled_up_with_noise(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    old = {name.replace("window_attn.qkv", "window_attn.fn.qkv"): value for name, value in weights.items()}
    assert old.keys() != weights.keys()
    save_file(old, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelRefused, match=r"laid out otherwise .* take florence-community's"):
        load(copy)


def test_a_folder_that_brings_code_of_its_own_is_refused_and_none_of_it_runs(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_florence2.Florence2ForConditionalGeneration"}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "modeling_florence2.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(ModelRefused, match="needs code of its own, which is never run"):
        load(copy)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("config.json", {"model_type": "clip"}, "of type clip and no Florence-2"),
        ("config.json", {"vision_config": {"embed_dim": [1]}}, "cannot be loaded"),
        ("processor_config.json", {"image_processor": {}}, "how a picture stands among the words"),
    ],
)
def test_what_is_no_captioner_is_refused_in_words(
    copy: Path, name: str, change: dict[str, object], words: str
) -> None:
    path = copy / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelRefused, match=words):
        load(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_refused_in_words(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"\0" * 100)
    with pytest.raises(ModelRefused, match="fetch the model again"):
        load(copy)


@pytest.fixture
def clip(florences: ModuleType, tmp_path: Path) -> Path:
    """Red, then blue, in sixteen bits."""
    frames = [florences.wall(color).astype(np.uint16) * 257 for color in florences.COLORS]
    write_clip(tmp_path / "clip.mkv", iter(frames), fps=Fraction(8))
    return tmp_path / "clip.mkv"


class Watched(ModelRegistry):
    """Keeps what it loaded, for a look at it afterwards."""

    def load_captioner(self, name: str, device: Device) -> Florence:
        self.loaded = super().load_captioner(name, device)
        return self.loaded


@pytest.fixture
def models(tiny_captioner: Path) -> Watched:
    return Watched([tiny_captioner.parent])


@pytest.mark.parametrize(("frame", "color"), [(0, "red"), (1, "blue")])
def test_a_frame_of_a_clip_is_described_and_the_captioner_freed(
    models: Watched, clip: Path, frame: int, color: str
) -> None:
    told: list[CaptionStage] = []
    request = CaptionRequest(clip, frame, None, Detail.SENTENCE)
    assert describe(request, models=models, device=CPU, tell=told.append) == f"a {color} wall"
    assert list(dict.fromkeys(told)) == [CaptionStage.LOADING, CaptionStage.DESCRIBING]
    assert models.loaded.module is None


def test_a_picture_takes_the_place_of_the_frame(models: Watched, clip: Path, florences: ModuleType) -> None:
    request = CaptionRequest(clip, 0, florences.wall("blue"), Detail.SENTENCE)
    assert describe(request, models=models, device=CPU, tell=lambda _: None) == "a blue wall"


def test_a_captioner_is_freed_also_when_nobody_wants_its_words_any_more(models: Watched, clip: Path) -> None:
    def tell(stage: CaptionStage) -> None:
        if stage is CaptionStage.DESCRIBING:
            raise Cancelled("Nobody is there.")

    with pytest.raises(Cancelled):
        describe(CaptionRequest(clip, 0, None, Detail.SENTENCE), models=models, device=CPU, tell=tell)
    assert models.loaded.module is None


@pytest.mark.parametrize(
    ("clip_given", "frame", "words"),
    [
        (True, 2, "The frame 2 is not within the clip, which has frames 0 to 1"),
        (False, 0, "nothing to describe"),
    ],
)
def test_a_frame_that_is_not_there_is_refused_before_anything_is_loaded(
    models: Watched, clip: Path, clip_given: bool, frame: int, words: str
) -> None:
    request = CaptionRequest(clip if clip_given else None, frame, None, Detail.SENTENCE)
    with pytest.raises(InvalidEdit, match=words):
        describe(request, models=models, device=CPU, tell=lambda _: None)
    assert not hasattr(models, "loaded")


def test_frames_of_every_depth_are_brought_to_eight_bits() -> None:
    deep = np.array([[[0, 128, 65535, 9]]], np.uint16)
    assert eight_bit(deep).tolist() == [[[0, 0, 255]]]
    assert eight_bit(np.array([[[1, 2, 3, 4]]], np.uint8)).tolist() == [[[1, 2, 3]]]
    assert eight_bit(np.array([[[129, 257 * 7, 257 * 8 - 100]]], np.uint16)).tolist() == [[[1, 7, 8]]]
