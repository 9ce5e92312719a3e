"""What an edit would take of memory, from a model's configuration files alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mattebox_backend.backbones import load_video_backbone, outline_video_backbone
from mattebox_backend.device import Device, total_memory_mb
from mattebox_backend.errors import InvalidEdit, ModelRefused, UnknownModel
from mattebox_backend.lora.adapter import AdapterPlan
from mattebox_backend.methods.mask_lora_parameters import MaskLoraParameters
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.render.forecast import Forecast, forecast
from mattebox_backend.render.memory import MemoryPlanner
from mattebox_media import open_clip

CPU = Device("cpu", 0, "float32")
GIB = 1 << 30


@pytest.fixture(params=["tiny_wan", "tiny_hunyuan"])
def whole(request: pytest.FixtureRequest) -> Path:
    """The folder of a model of each family."""
    folder: Path = request.getfixturevalue(request.param)
    return folder


@pytest.fixture
def bare(whole: Path, tmp_path: Path) -> Path:
    """The same without weights."""
    folder = Path(shutil.copytree(whole, tmp_path / whole.name))
    for weights in folder.glob("*/*.safetensors"):
        weights.unlink()
    return folder


def of(studio: Any, folder: Path, card: int = 0, **params: Any) -> Forecast:
    edit = replace(studio.edit, backbone=str(folder), params={**studio.edit.params, **params})
    with open_clip(edit.clip) as reader:
        info = reader.info
    return forecast(edit, info, models=ModelRegistry(), device=CPU, card_memory=card)


def test_an_outline_plans_as_the_loaded_model_does(whole: Path, bare: Path) -> None:
    loaded, outline = load_video_backbone(whole, CPU), outline_video_backbone(bare, CPU)
    assert outline.name == loaded.name
    assert outline.prompt_bytes == loaded.prompt_bytes > 0
    assert (outline.frame_stride, outline.frame_limit) == (loaded.frame_stride, loaded.frame_limit)
    assert {parameter.device.type for parameter in outline.network.parameters()} == {"meta"}
    adapter = AdapterPlan(rank=2)
    for p in (MaskLoraParameters(memory=4.0), MaskLoraParameters(memory=4.0, blocks_to_swap=2)):
        plans = []
        for backbone in (loaded, outline):
            planner = MemoryPlanner(backbone, p, backbone.working_size(64, 64, 64), 9)
            plans.append((planner.training(adapter, 9), planner.sampling(adapter, 9), planner.autoencoder(9)))
        assert plans[0] == plans[1]


def test_a_card_is_planned_for_in_its_own_number_format(video_studio: Any, bare: Path) -> None:
    roomy = of(video_studio, bare, card=8 * GIB)
    assert (roomy.device, roomy.memory) == (Device("cuda", 0, "bfloat16"), 8 * GIB)
    assert (roomy.size.width, roomy.size.height, roomy.frames) == (64, 64, 9)
    assert (roomy.training_frames, roomy.generation_frames) == (9, 9)
    assert roomy.training.settings.blocks_to_swap == roomy.generation.settings.blocks_to_swap == 0
    here = of(video_studio, bare)
    assert here.device == CPU
    assert 0 < here.memory < total_memory_mb(CPU) * (1 << 20)
    assert here.training.expected.weights > 1.3 * roomy.training.expected.weights
    assert here.tiled is ("hunyuan" in bare.name)


def test_what_the_edit_sets_is_kept_to(video_studio: Any, bare: Path) -> None:
    made = of(
        video_studio,
        bare,
        card=8 * GIB,
        training_window=5,
        window_frames=5,
        window_overlap=1,
        checkpointing="on",
        blocks_to_swap=2,
        memory=2.0,
    )
    assert made.memory == 2 * GIB
    assert (made.training_frames, made.generation_frames, made.frames) == (5, 5, 9)
    assert made.training.settings.checkpointing
    assert made.training.settings.blocks_to_swap == made.generation.settings.blocks_to_swap == 2
    assert of(video_studio, bare, card=GIB, memory=2.0).memory == GIB


def test_a_clip_of_another_length_is_planned_as_it_is_padded(video_studio: Any, tiny_wan: Path) -> None:
    regions = tuple(replace(region, masks=region.masks[:7]) for region in video_studio.edit.regions)
    video_studio.edit = replace(video_studio.edit, stop=7, regions=regions)
    assert of(video_studio, tiny_wan).frames == 9


def test_a_focus_is_planned_for_at_its_size(video_studio: Any, tiny_wan: Path) -> None:
    part = of(video_studio, tiny_wan, focus=True, size=128, focus_margin=0.0)
    whole = of(video_studio, tiny_wan, size=128)
    assert part.size.width < whole.size.width == 128
    assert part.training.expected.activations < whole.training.expected.activations


def test_too_small_a_card_is_told_what_would_do(video_studio: Any, tiny_wan: Path) -> None:
    with pytest.raises(InvalidEdit, match="What encodes the prompts of tiny-wan needs") as refused:
        of(video_studio, tiny_wan, card=100)
    assert "use a card with more memory, or a smaller model" in str(refused.value)
    with pytest.raises(InvalidEdit, match="work at a smaller size, on fewer frames, or on a card with more"):
        of(video_studio, tiny_wan, card=1 << 20)


def test_what_cannot_be_planned_is_said(video_studio: Any, tiny_wan: Path, tmp_path: Path) -> None:
    edit = video_studio.edit
    video_studio.edit = replace(edit, method="reatco", params={}, references=())
    with pytest.raises(InvalidEdit, match="is by reatco; set method to mask-lora"):
        of(video_studio, tiny_wan)
    video_studio.edit = edit
    broken = Path(shutil.copytree(tiny_wan, tmp_path / "broken"))
    (broken / "vae" / "config.json").unlink()
    with pytest.raises(ModelRefused, match="is no complete model"):
        of(video_studio, broken)


def test_a_hub_model_that_is_not_here_is_not_fetched(
    video_studio: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[bool] = []
    real = huggingface_hub.snapshot_download

    def watched(*arguments: Any, **options: Any) -> Any:
        asked.append(options.get("local_files_only", False))
        return real(*arguments, **options, cache_dir=tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", watched)
    with pytest.raises(UnknownModel, match=r"hf download someone/a-model --include '\*.json' --local-dir"):
        of(video_studio, Path("someone/a-model"))
    assert asked == [True]
