"""Mask-aware LoRA on a tiny HunyuanVideo: the same recipe, training and files as on Wan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.backbones.hunyuan_video import HunyuanVideo
from mattebox_backend.edit import Reference
from mattebox_backend.lora.store import AdapterStore
from mattebox_backend.render import Stage


@pytest.fixture(autouse=True)
def single_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def hunyuan_studio(hunyuan: HunyuanVideo, video_studio: Any) -> Any:
    video_studio.backbone = hunyuan
    video_studio.edit = replace(video_studio.edit, backbone="tiny-hunyuan")
    return video_studio


def test_an_edit_is_made_and_its_adapter_found_again(
    hunyuan_studio: Any, render_monitor: Callable[[], Any]
) -> None:
    source = hunyuan_studio.source
    later = source[6].copy()
    later[hunyuan_studio.edit.regions[0].masks[6] > 0] = (200, 200, 30)
    references = (*hunyuan_studio.edit.references, Reference(6, later, "left"))
    first, report = hunyuan_studio.render(references=references)
    assert report.background_exact_share == 1
    assert (first != source).any()
    assert report.params["guidance"] == 1.0
    store = AdapterStore(hunyuan_studio.paths.adapters)
    for adapter in report.adapters:
        kept = store.find(adapter)
        assert kept is not None
        names = set(kept.weights)
        assert any("single_transformer_blocks.1.proj_out" in name for name in names)
        assert any("transformer_blocks.0.attn.add_k_proj" in name for name in names)
    watching = render_monitor()
    again, second = hunyuan_studio.render(watching, references=references)
    assert np.array_equal(first, again)
    assert second.adapters == report.adapters
    assert not [step for stage, step, of in watching.told if stage is Stage.TUNE and step < of]


def test_the_loss_falls(hunyuan_studio: Any) -> None:
    params = {**hunyuan_studio.edit.params, "motion_steps": 24, "draws": 4, "learning_rate": 0.02, "steps": 1}
    _, report = hunyuan_studio.render(params=params)
    losses = [loss for _, loss in report.curves["motion loss"]]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:8])


def test_what_is_told_of_the_clip_decides_what_is_made(hunyuan_studio: Any) -> None:
    """The mask reaches the network: without it the same training and noise make another clip."""
    masked, _ = hunyuan_studio.render()
    bare, _ = hunyuan_studio.render(params={**hunyuan_studio.edit.params, "told": "the first frame"})
    assert not np.array_equal(masked, bare)


def test_windows_and_swapped_blocks_change_what_they_should(hunyuan_studio: Any) -> None:
    edit = hunyuan_studio.edit
    plain, _ = hunyuan_studio.render()
    for entry in hunyuan_studio.paths.adapters.iterdir():
        for file in entry.iterdir():
            file.unlink()
        entry.rmdir()
    swapped, _ = hunyuan_studio.render(params={**edit.params, "blocks_to_swap": 4, "checkpointing": "on"})
    assert np.array_equal(plain, swapped)
    windowed, report = hunyuan_studio.render(
        params={**edit.params, "training_window": 5, "window_frames": 5, "window_overlap": 1}
    )
    assert report.background_exact_share == 1
    assert not np.array_equal(plain[5:], windowed[5:])
