"""A search for regions in a clip, with a tiny model of random weights."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mattebox_backend.backbones.protocol import Backbone
from mattebox_backend.device import Device
from mattebox_backend.errors import Cancelled, InvalidEdit
from mattebox_backend.render import Stage
from mattebox_backend.segment import Proposal, ProposalRequest, propose_regions
from mattebox_media import write_clip

CPU = Device("cpu", 0, "float32")


class Loaded:
    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    def load(self, backbone_id: str, device: Device) -> Backbone:
        return self.backbone

    def load_controlnet(self, name: str, device: Device) -> Any:
        raise AssertionError("a search needs no ControlNet")


def clip_of(path: Path, frames: int, height: int, width: int) -> Path:
    """A dark square that moves over light noise."""
    rng = np.random.default_rng(4)
    pictures = np.repeat(rng.integers(170, 220, (1, height, width, 3), np.uint8), frames, axis=0)
    for index in range(frames):
        pictures[index, 20:40, 4 + 5 * index : 24 + 5 * index] = (20, 20, 90)
    write_clip(path, iter(pictures), fps=Fraction(8))
    return path


@pytest.fixture
def request_(tmp_path: Path) -> ProposalRequest:
    clip = clip_of(tmp_path / "clip.mkv", 4, 64, 64)
    return ProposalRequest(clip, 0, 4, "tiny-sd", "a blue square", 3)


def find(request: ProposalRequest, backbone: Backbone, told: list[Any] | None = None) -> list[Proposal]:
    def progress(stage: Stage, step: int, of: int) -> None:
        if told is not None:
            told.append((stage, step, of))

    return propose_regions(request, models=Loaded(backbone), device=CPU, progress=progress)


def test_regions_part_the_clip_the_largest_first(request_: ProposalRequest, backbone: Any) -> None:
    told: list[Any] = []
    found = find(request_, backbone, told)
    masks = np.stack([proposal.masks for proposal in found])
    assert masks.shape == (3, 4, 64, 64)
    assert masks.dtype == np.uint8
    assert ((masks > 0).sum(axis=0) == 1).all()
    shares = [proposal.share for proposal in found]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert shares == pytest.approx([float((mask > 0).mean()) for mask in masks])
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == [Stage.LOAD, Stage.ENCODE, Stage.INVERT, Stage.MASKS]


def test_the_same_seed_finds_the_same_and_every_part_of_the_request_matters(
    request_: ProposalRequest, backbone: Any
) -> None:
    def bits(request: ProposalRequest) -> bytes:
        return b"".join(proposal.masks.tobytes() for proposal in find(request, backbone))

    first = bits(request_)
    assert bits(request_) == first
    for other in (
        replace(request_, regions=4),
        replace(request_, reduction=2),
        replace(request_, start=1),
        replace(request_, prompt="a red circle on gray background"),
    ):
        assert bits(other) != first


def test_a_range_counts_from_its_start_and_one_frame_and_odd_sizes_are_legal(
    tmp_path: Path, request_: ProposalRequest, backbone: Any
) -> None:
    clip = clip_of(tmp_path / "odd.mkv", 3, 50, 74)
    found = find(replace(request_, clip=clip, start=2, stop=3), backbone)
    assert found[0].masks.shape == (1, 50, 74)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stop": 5}, "0 to 5 is not within the clip, which has frames 0 to 3"),
        ({"start": 2, "stop": 2}, "choose at least one frame"),
        ({"regions": 1}, "1 regions cannot be found; ask for 2 to 32"),
        ({"regions": 33}, "ask for 2 to 32"),
        ({"reduction": 4}, r"no self attention at 1/4 of its latents; set the reduction to one of 1, 2"),
        ({"prompt": "hat " * 30}, "30 tokens long"),
        ({"regions": 32, "stop": 1, "reduction": 2}, "32 regions cannot be made of 16 tokens"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(
    request_: ProposalRequest, backbone: Any, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidEdit, match=words):
        find(replace(request_, **change), backbone)


def test_more_frames_than_a_motion_model_knows_are_refused_before_they_are_encoded(
    tmp_path: Path, request_: ProposalRequest, motion_backbone: Any
) -> None:
    clip = clip_of(tmp_path / "long.mkv", 8, 64, 64)
    told: list[Any] = []
    with pytest.raises(
        InvalidEdit, match=r"at most 6 frames .* given 7; choose a shorter --range"
    ) as refused:
        find(replace(request_, clip=clip, start=1, stop=8), motion_backbone, told)
    assert "window_frames" not in str(refused.value)
    assert {stage for stage, _, _ in told} == {Stage.LOAD}
    found = find(replace(request_, clip=clip, start=1, stop=7), motion_backbone)
    assert found[0].masks.shape == (6, 64, 64)


@pytest.mark.parametrize("stage", [Stage.LOAD, Stage.ENCODE, Stage.INVERT, Stage.MASKS])
def test_a_search_stops_at_any_stage_and_leaves_the_model_as_it_was(
    request_: ProposalRequest, backbone: Any, stage: Stage
) -> None:
    def progress(at: Stage, step: int, of: int) -> None:
        if at is stage:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        propose_regions(request_, models=Loaded(backbone), device=CPU, progress=progress)
