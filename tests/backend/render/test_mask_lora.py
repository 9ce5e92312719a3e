"""Mask-aware LoRA on a tiny Wan, from files to frames."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mattebox_backend.backbones.wan import Wan
from mattebox_backend.edit import Edit, Reference
from mattebox_backend.errors import Cancelled, InvalidEdit
from mattebox_backend.lora.store import AdapterStore
from mattebox_backend.render import Stage, video_job
from mattebox_backend.render.memory import placed

pytestmark = pytest.mark.usefixtures("single_thread")


@pytest.fixture
def single_thread() -> Any:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def with_params(edit: Edit, **params: Any) -> dict[str, Any]:
    return {**edit.params, **params}


def late_reference(studio: Any, frame: int, colour: tuple[int, int, int] = (200, 200, 30)) -> Reference:
    picture = studio.source[frame].copy()
    picture[studio.edit.regions[0].masks[frame] > 0] = colour
    return Reference(frame, picture, "left")


def test_outside_the_boxes_every_bit_is_the_sources(video_studio: Any) -> None:
    frames, report = video_studio.render()
    source = video_studio.source
    assert frames.shape == source.shape
    assert report.background_exact_share == 1
    assert (frames != source).any()
    mask = video_studio.edit.regions[0].masks[4] > 0
    changed = (frames[4] != source[4]).any(-1)
    rows, columns = np.nonzero(mask)
    beside = changed & ~mask
    assert beside.any(), "the box leaves room around the region"
    assert not beside[: rows.min() - 4].any()
    assert not beside[:, columns.max() + 5 :].any()


def test_the_same_edit_gives_the_same_bits_and_finds_its_adapter(
    video_studio: Any, render_monitor: Callable[[], Any]
) -> None:
    first, report = video_studio.render()
    watching = render_monitor()
    again, second = video_studio.render(watching)
    assert np.array_equal(first, again)
    assert second.adapters == report.adapters
    assert not [step for stage, step, of in watching.told if stage is Stage.TUNE and step < of]
    assert any("known from an earlier training" in line for line in watching.logged)
    assert [step for step, _ in report.curves["motion loss"]] == [1, 2, 3]
    assert report.curves == second.curves


def test_another_seed_needs_no_other_adapter(video_studio: Any) -> None:
    first, report = video_studio.render()
    other, second = video_studio.render(seed=2)
    assert report.adapters == second.adapters
    assert not np.array_equal(first, other)


def test_every_loss_is_told_as_it_comes(video_studio: Any, render_monitor: Callable[[], Any]) -> None:
    watching = render_monitor()
    _, report = video_studio.render(watching, references=_two(video_studio))
    names = [(name, step) for name, step, _, _ in watching.figures]
    motion = [("motion loss", step) for step in (1, 2, 3)]
    assert names == [*motion, ("appearance loss", 1), ("appearance loss", 2)]
    assert len(report.adapters) == 2


def test_more_references_go_on_from_the_motion_that_is_known(
    video_studio: Any, render_monitor: Callable[[], Any]
) -> None:
    _, before = video_studio.render()
    watching = render_monitor()
    _, after = video_studio.render(watching, references=_two(video_studio))
    assert after.adapters[0] == before.adapters[0]
    assert {name for name, *_ in watching.figures} == {"appearance loss"}


def test_a_reference_leaves_its_mark_on_the_clip(video_studio: Any) -> None:
    alone, _ = video_studio.render()
    taught, _ = video_studio.render(references=_two(video_studio))
    assert not np.array_equal(alone, taught)
    other, _ = video_studio.render(
        references=(*video_studio.edit.references, late_reference(video_studio, 6, (0, 0, 0)))
    )
    assert not np.array_equal(taught, other)


def test_a_killed_training_goes_on_and_ends_in_the_same_bits(
    video_studio: Any, render_monitor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = with_params(video_studio.edit, motion_steps=24)
    unbroken, report = video_studio.render(params=params)
    for entry in video_studio.paths.adapters.iterdir():
        for file in entry.iterdir():
            file.unlink()
        entry.rmdir()
    with pytest.raises(KeyboardInterrupt):
        video_studio.render(render_monitor((Stage.TUNE, 13)), params=params)
    watching = render_monitor()
    resumed, second = video_studio.render(watching, params=params)
    assert np.array_equal(unbroken, resumed)
    assert report.curves == second.curves
    assert watching.figures[0][1] == 11, "the checkpoint after step 10 was taken up"


def test_a_killed_generation_goes_on_and_ends_in_the_same_bits(
    video_studio: Any, render_monitor: Callable[..., Any]
) -> None:
    params = with_params(video_studio.edit, steps=8, window_frames=5, window_overlap=1)
    unbroken, _ = video_studio.render(params=params)
    for file in video_studio.paths.checkpoint.iterdir():
        file.unlink()
    with pytest.raises(KeyboardInterrupt):
        video_studio.render(render_monitor((Stage.SAMPLE, 14)), params=params)
    watching = render_monitor()
    resumed, _ = video_studio.render(watching, params=params)
    assert np.array_equal(unbroken, resumed)
    assert not [step for stage, step, _ in watching.told if stage is Stage.SAMPLE and 0 < step < 8]


def test_a_cancelled_render_leaves_the_model_as_it_was(
    video_studio: Any, render_monitor: Callable[..., Any]
) -> None:
    network = video_studio.backbone.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for stage in (Stage.TUNE, Stage.SAMPLE, Stage.COMPOSITE):
        with pytest.raises(Cancelled):
            video_studio.render(render_monitor((stage, 2), Cancelled))
        after = network.state_dict()
        assert after.keys() == before.keys()
        assert all(bool((after[name] == value).all()) for name, value in before.items())
        assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(("frames", "length"), [(1, 1), (2, 5), (5, 5), (7, 9)])
def test_clips_of_any_length(
    video_studio: Any, render_monitor: Callable[[], Any], frames: int, length: int
) -> None:
    edit = video_studio.edit
    regions = tuple(replace(region, masks=region.masks[:frames]) for region in edit.regions)
    watching = render_monitor()
    made, report = video_studio.render(watching, stop=frames, regions=regions)
    assert len(made) == report.frames == frames
    said = [line for line in watching.logged if f"to make {length}" in line]
    assert bool(said) == (length != frames)


def test_clips_beyond_the_model_go_in_windows_that_meet(video_studio: Any) -> None:
    params = with_params(video_studio.edit, window_frames=5, window_overlap=1)
    windowed, report = video_studio.render(params=params)
    whole, _ = video_studio.render()
    assert report.background_exact_share == 1
    assert not np.array_equal(windowed[5:], whole[5:])
    assert np.isfinite(windowed.astype(np.float64)).all()


@pytest.mark.parametrize(
    "told", ["the first frame", "nothing", "everything", "the background", "outside the regions"]
)
def test_every_mask_of_figure_2_renders(video_studio: Any, told: str) -> None:
    frames, report = video_studio.render(params=with_params(video_studio.edit, told=told))
    assert report.background_exact_share == 1
    assert report.params["told"] == told
    assert len(frames) == 9


def test_feature_level_blending_sets_the_latents_outside_to_the_sources(video_studio: Any) -> None:
    params = with_params(video_studio.edit, told="the first frame", preserve=False)
    free, _ = video_studio.render(params=params)
    blended, _ = video_studio.render(params={**params, "latent_blend": True})
    with_source = video_studio.backbone
    latents = with_source.encode(video_studio.source)
    *_, true = with_source.decode(latents)
    far = np.s_[-1, -8:, -8:]
    reach = np.abs(free[far].astype(int) - np.rint(true[-8:, -8:] * 255)).mean()
    near = np.abs(blended[far].astype(int) - np.rint(true[-8:, -8:] * 255)).mean()
    assert near < reach


def test_without_mask_scheduling_another_appearance_is_learnt(video_studio: Any) -> None:
    params = with_params(video_studio.edit, appearance_told="the first frame")
    usual, _ = video_studio.render(references=_two(video_studio))
    other, _ = video_studio.render(references=_two(video_studio), params=params)
    assert not np.array_equal(usual, other)


def test_no_steps_leave_the_model_as_it_was(video_studio: Any) -> None:
    """A fresh adapter adds nothing; nothing is encoded for a training that there is none of."""
    first, report = video_studio.render(params=with_params(video_studio.edit, motion_steps=0))
    again, _ = video_studio.render(params=with_params(video_studio.edit, motion_steps=0, rank=3))
    np.testing.assert_array_equal(first, again)
    assert report.curves["motion loss"] == []
    assert "encode" not in report.seconds


def test_a_reference_learnt_in_its_place_leaves_its_mark_there(video_studio: Any) -> None:
    edit = replace(
        video_studio.edit, references=(*video_studio.edit.references, late_reference(video_studio, 8))
    )
    longer = with_params(edit, motion_steps=5, appearance_steps=40, learning_rate=0.02)
    alone, before = video_studio.render(references=edit.references, params=longer)
    placed_there, report = video_studio.render(
        references=edit.references, params={**longer, "appearance_at": "in the clip"}
    )
    assert report.adapters[0] == before.adapters[0], "the motion is known"
    assert report.adapters[1] != before.adapters[1]
    losses = [loss for _, loss in report.curves["appearance loss"]]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert not np.array_equal(alone, placed_there)


def test_the_motion_can_be_learnt_in_other_colours_too(
    video_studio: Any, render_monitor: Callable[..., Any], monkeypatch: Any
) -> None:
    seen = []
    train = video_job.train_adapter

    def watched(backbone: Any, parameters: Any, lesson: Any, *rest: Any) -> Any:
        seen.append(lesson)
        return train(backbone, parameters, lesson, *rest)

    monkeypatch.setattr(video_job, "train_adapter", watched)
    plain, before = video_studio.render()
    params, watching = with_params(video_studio.edit, colour_augmentation=0.4), render_monitor()
    varied, report = video_studio.render(watching, params=params)
    assert report.adapters != before.adapters
    assert not np.array_equal(plain, varied)
    assert [len(lesson.samples) for lesson in seen] == [1, 6]
    assert (seen[1].samples[0].target == seen[0].samples[0].target).all()
    assert seen[1].shares == pytest.approx([0.6] + [0.08] * 5)
    assert [(step, of) for stage, step, of in watching.told if stage is Stage.ENCODE] == [
        (step, 6) for step in range(6)
    ]


def test_the_motion_is_encoded_once_for_both_stages(
    video_studio: Any, render_monitor: Callable[..., Any]
) -> None:
    references = (*video_studio.edit.references, late_reference(video_studio, 8))
    params, watching = with_params(video_studio.edit, motion_share=0.5), render_monitor()
    params["colour_augmentation"] = 0.5
    _, report = video_studio.render(watching, references=references, params=params)
    assert len(report.adapters) == 2
    told = [(step, of) for stage, step, of in watching.told if stage is Stage.ENCODE]
    assert told == [*((step, 6) for step in range(6)), (0, 1)]


def test_a_training_that_diverges_keeps_what_was_good(video_studio: Any) -> None:
    network = video_studio.backbone.network
    kept_weight = network.proj_out.bias.data.clone()
    poisoned = _Poison(after=2)
    handle = network.register_forward_hook(poisoned)
    try:
        with pytest.raises(InvalidEdit, match=r"stopped at step 3 of 3: the loss became nan") as raised:
            video_studio.render()
    finally:
        handle.remove()
    assert (network.proj_out.bias == kept_weight).all()
    adapter = str(raised.value).split("continue_from = '")[1].split("'")[0]
    assert AdapterStore(video_studio.paths.adapters).find(adapter) is not None
    _, report = video_studio.render(params=with_params(video_studio.edit, continue_from=adapter))
    assert report.adapters


def test_an_adapter_that_is_not_there_is_named(video_studio: Any) -> None:
    with pytest.raises(InvalidEdit, match="There is no adapter 'nowhere' here to continue from"):
        video_studio.render(params=with_params(video_studio.edit, continue_from="nowhere"))


def test_no_reference_of_the_first_frame_is_refused(video_studio: Any) -> None:
    with pytest.raises(InvalidEdit, match=r"the edit has none; give a .*of frame 0"):
        video_studio.render(references=())
    with pytest.raises(InvalidEdit, match="has a reference at frame 6 and none at frame 0"):
        video_studio.render(references=(late_reference(video_studio, 6),))


def test_a_region_needs_no_prompt_where_a_picture_says_it(video_studio: Any) -> None:
    region = replace(video_studio.edit.regions[0], prompt="")
    _, report = video_studio.render(regions=(region,))
    assert report.frames == 9


def test_working_around_the_region_alone(video_studio: Any) -> None:
    params = with_params(video_studio.edit, focus=True, size=128, focus_margin=0.0)
    frames, report = video_studio.render(params=params)
    assert report.background_exact_share == 1
    assert (frames != video_studio.source).any()


def _two(studio: Any) -> tuple[Reference, ...]:
    return (*studio.edit.references, late_reference(studio, 6))


class _Poison:
    """A forward hook that turns a network's answers into NaN after some."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, module: Any, args: Any, output: Any) -> Any:
        self.left -= 1
        return (output[0] * float("nan"),) if self.left < 0 else output


def test_the_log_says_what_is_expected_and_what_it_took(
    video_studio: Any, render_monitor: Callable[[], Any]
) -> None:
    watching = render_monitor()
    plain, _ = video_studio.render(watching)
    said = "\n".join(watching.logged)
    assert "Training an adapter of tiny-wan on 9 frames of 64×64: the whole clip" in said
    assert "0 of 3 blocks swapped; expected to take" in said
    took = re.search(r"It took (\d[\d,]*) MB more at most than before; (\d+) MB were expected\.", said)
    assert took is not None
    assert "Sampling with tiny-wan on 9 frames" in said
    for entry in video_studio.paths.adapters.iterdir():
        for file in entry.iterdir():
            file.unlink()
        entry.rmdir()
    swapping = render_monitor()
    params = with_params(video_studio.edit, blocks_to_swap=3, checkpointing="on")
    swapped, _ = video_studio.render(swapping, params=params)
    assert np.array_equal(plain, swapped), "where the blocks rest changes no bit"
    assert any("Of the blocks" in line and "moved" in line for line in swapping.logged)


def test_what_encodes_never_shares_the_device_with_the_network(
    video_studio: Any, render_monitor: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    placements: list[bool] = []
    alone: dict[str, set[bool]] = {"prompt": set(), "condition": set(), "encode": set()}

    @contextmanager
    def watched(backbone: Any, settings: Any) -> Iterator[Any]:
        placements.append(True)
        with placed(backbone, settings) as swap:
            yield swap
        placements[-1] = False

    def watching(name: str) -> None:
        method = getattr(Wan, name)

        def called(self: Any, *arguments: Any) -> Any:
            alone[name].add(not any(placements))
            return method(self, *arguments)

        monkeypatch.setattr(Wan, name, called)

    for name in alone:
        watching(name)
    monkeypatch.setattr(video_job, "placed", watched)
    monitor = render_monitor()
    params = with_params(video_studio.edit, window_frames=5, window_overlap=1)
    video_studio.render(monitor, params=params)
    assert len(placements) == 3, "for training, and for each of two windows"
    assert alone == {"prompt": {True}, "condition": {True}, "encode": {True}}
    assert sum("Sampling with tiny-wan on 5 frames" in line for line in monitor.logged) == 1


def test_what_does_not_fit_is_refused_before_it_begins(
    video_studio: Any, render_monitor: Callable[[], Any]
) -> None:
    watching = render_monitor()
    with pytest.raises(InvalidEdit, match="work at a smaller size, on fewer frames, or on a card"):
        video_studio.render(watching, params=with_params(video_studio.edit, memory=1e-5))
    assert not watching.figures
    with pytest.raises(InvalidEdit, match=r"blocks_to_swap is 4 and the model has 3 blocks; use 0 to 3"):
        video_studio.render(params=with_params(video_studio.edit, blocks_to_swap=4))
