"""Tasks that are given by pictures: what they ask, what they show, and how they are judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mattebox_backend.bench.choosing_pictured import CLIPPED, FRAMES, LONGEST, choose_pictured_tasks
from mattebox_backend.bench.errors import BenchError
from mattebox_backend.bench.judging import judge
from mattebox_backend.bench.task_edit import build_edit
from mattebox_backend.bench.tasks import (
    PICTURED,
    PROMPTED,
    Level,
    Task,
    cut,
    list_hash,
    load_tasks,
    tasks_from_json,
    tasks_to_json,
)
from mattebox_backend.bench.told_figures import told_figures
from mattebox_backend.bench.variants import Variant
from mattebox_backend.masks.loose import boxed
from mattebox_backend.methods import find_method
from mattebox_backend.metrics.scorer import Scorer
from mattebox_backend.world.captions import caption, object_phrase
from mattebox_backend.world.edits import Resize, SetPart
from mattebox_backend.world.render import visible_shares

TASKS = load_tasks(*PICTURED)


def short(task: Task) -> Task:
    return cut(task, FRAMES)


def test_the_committed_list_is_what_the_seeds_give() -> None:
    assert {task.name: task for task in TASKS} == {task.name: task for task in choose_pictured_tasks()}
    assert tasks_from_json(tasks_to_json(TASKS)) == TASKS


def test_there_are_twelve_tasks_of_each_level_and_the_levels_alternate() -> None:
    assert Counter(task.level for task in TASKS) == dict.fromkeys(PICTURED, 12)
    assert [task.level for task in TASKS[:3]] == list(PICTURED)
    kinds = [any(isinstance(edit, SetPart) for edit in task.edits) for task in load_tasks(Level.LOOK)]
    assert kinds == [False, True] * 6
    kinds = [any(isinstance(edit, Resize) for edit in task.edits) for task in load_tasks(Level.FORM)]
    assert kinds == [False, True] * 6


def test_the_two_lists_share_no_scene_and_have_hashes_of_their_own() -> None:
    assert not {task.scene for task in TASKS} & {task.scene for task in load_tasks()}
    assert list_hash(TASKS[:1]) == list_hash(TASKS)
    assert list_hash(load_tasks(*PROMPTED)) == list_hash(load_tasks()[:1]) != list_hash(TASKS)
    assert list_hash([*load_tasks()[:1], *TASKS[:1]]) not in (list_hash(TASKS), list_hash(load_tasks()))


def test_looks_can_be_followed_over_forty_nine_frames_and_all_else_over_seventeen() -> None:
    for task in TASKS:
        assert task.scene.frames == (LONGEST if task.level is Level.LOOK else FRAMES)
        for scene in (task.scene, task.edited_scene):
            assert all(min(visible_shares(scene, time)) > 0.97 for time in range(0, scene.frames, 4))


def test_one_object_changes_within_its_box_and_nothing_else_at_all() -> None:
    for task in map(short, TASKS):
        (region,) = task.regions
        changed = (task.source.frames != task.truth.frames).any(-1)
        inside = task.region_masks(region) > 0
        assert changed.any(axis=(1, 2)).all(), "in every frame"
        assert not (changed & ~inside).any(), task.name
        assert np.array_equal(inside[3], boxed(task.source_masks(region)[3], 0.1) > 0)


def test_the_outline_of_what_was_clips_a_changed_form() -> None:
    for task in load_tasks(Level.FORM):
        (region,) = task.regions
        after, tight = task.truth.masks[region.objects[0]] > 0, task.source_masks(region) > 0
        clipped = (after & ~tight).sum(axis=(1, 2)) / after.sum(axis=(1, 2))
        assert clipped.min() >= CLIPPED


def test_the_first_frames_of_a_bloom_do_not_tell_what_comes() -> None:
    for task in load_tasks(Level.BLOOM):
        index = task.regions[0].objects[0]
        before, after = task.scene.objects[index], task.edited_scene.objects[index]
        assert before.bloom is not None
        assert after.bloom is not None
        assert len({before.colour, before.bloom.colour, after.colour, after.bloom.colour}) == 4
        assert (after.bloom.start, after.bloom.stop) == (before.bloom.start, before.bloom.stop)
        assert after.bloom.start >= 2
        assert after.bloom.stop <= FRAMES - FRAMES // 4, "it is done before the last quarter"
        assert str(after.bloom.colour) not in object_phrase(after)
        assert task.prompt == caption(task.edited_scene, order=range(len(task.edited_scene.objects)))


@pytest.mark.parametrize("level", PICTURED)
def test_the_true_edit_is_judged_right_and_the_source_wrong(level: Level, scorer: Scorer) -> None:
    for task in map(short, load_tasks(level)[:4]):
        right, wrong = judge(task, task.truth.frames, scorer), judge(task, task.source.frames, scorer)
        assert right.accuracy == right.end_accuracy == 1
        assert right.psnr is right.end_psnr is right.background_psnr is None, "equal: no number for JSON"
        assert right.boundary == 0
        assert wrong.accuracy == wrong.end_accuracy == 0
        assert wrong.psnr is not None
        assert wrong.end_psnr is not None
        assert wrong.background_exact == 1
        assert wrong.input_similarity == pytest.approx(1)


def test_what_the_first_frame_carries_on_is_wrong_at_the_end_of_a_bloom(scorer: Scorer) -> None:
    for task in load_tasks(Level.BLOOM)[:4]:
        index = task.regions[0].objects[0]
        item = task.edited_scene.objects[index]
        assert item.bloom is not None
        stays = replace(item, bloom=replace(item.bloom, colour=item.colour))
        frozen = replace(task, edits=(), scene=task.edited_scene.with_object(index, stays))
        found = judge(task, frozen.source.frames, scorer)
        assert found.end_accuracy == 0
        assert found.accuracy is not None
        assert 0 < found.accuracy < 1, "right before it turns"


def test_the_figures_of_the_end_are_those_of_the_last_quarter(scorer: Scorer) -> None:
    task = short(load_tasks(Level.LOOK)[0])
    frames = task.source.frames.copy()
    frames[-4:] = task.truth.frames[-4:]
    found = judge(task, frames, scorer)
    assert found.end_accuracy == 1
    assert found.end_psnr is None
    assert found.accuracy == pytest.approx(4 / 17)
    frames[-1] = 0
    inside = task.region_masks(task.regions[0])[-4:] > 0
    error = (frames[-4:].astype(float) - task.truth.frames[-4:])[inside]
    assert judge(task, frames, scorer).end_psnr == pytest.approx(10 * np.log10(255**2 / np.mean(error**2)))


def test_the_scorers_figures_hold_frames_against_the_first_and_the_source(scorer: Scorer) -> None:
    task = cut(load_tasks(Level.LOOK)[1], 5)
    frames = task.truth.frames
    found = judge(task, frames, scorer)
    unit = [row / np.linalg.norm(row) for row in scorer.embed_pictures(list(frames))]
    source = [row / np.linalg.norm(row) for row in scorer.embed_pictures(list(task.source.frames))]
    assert found.clip_first == pytest.approx(np.mean([row @ unit[0] for row in unit[1:]]))
    assert found.input_similarity == pytest.approx(
        np.mean([a @ b for a, b in zip(unit, source, strict=True)])
    )
    assert judge(cut(task, 1), frames[:1], scorer).clip_first is None


def test_a_method_of_pictures_is_shown_the_true_edit_and_what_the_source_holds() -> None:
    task = short(load_tasks(Level.FORM)[1])
    edit = build_edit(task, Path("c.mkv"), "mask-lora", "m", Variant({"steps": 3}, (0, -1, 16)))
    assert [reference.frame for reference in edit.references] == [0, 16]
    for reference in edit.references:
        assert reference.region == task.regions[0].name
        assert np.array_equal(reference.image, task.truth.frames[reference.frame])
    assert np.array_equal(edit.regions[0].masks, task.source_masks(task.regions[0]))
    assert edit.params == {"steps": 3}
    other = build_edit(task, Path("c.mkv"), "st-modulator", "m", Variant())
    assert not other.references
    assert np.array_equal(other.regions[0].masks, task.region_masks(task.regions[0]))


def test_every_region_of_an_older_task_has_its_reference() -> None:
    task = load_tasks(Level.INSTANCE)[0]
    edit = build_edit(task, Path("c.mkv"), "mask-lora", "m", Variant())
    assert [reference.region for reference in edit.references] == [region.name for region in task.regions]


@pytest.mark.parametrize(("frames", "asked"), [(5, 5), (5, -6), (1, 1)])
def test_a_reference_outside_of_the_clip_is_refused_in_words(frames: int, asked: int) -> None:
    with pytest.raises(BenchError, match=f"at frame {asked} and the clip has {frames} frames"):
        Variant(references=(0, asked)).shown(frames)
    assert Variant(references=(0, -frames)).shown(frames) == [0]


def test_a_variant_says_in_json_only_what_is_not_as_always() -> None:
    assert Variant({"a": 1}).to_json() == {"params": {"a": 1}}
    said = Variant({}, (0, -1), 9).on({"b": 2}).to_json()
    assert said == {"params": {"b": 2}, "references": [0, -1], "frames": 9}
    assert Variant({"a": 1}).on({"a": 2, "b": 2}).params == {"a": 1, "b": 2}


@pytest.mark.parametrize("told", ["the first frame", "nothing", "everything", "the background"])
def test_what_was_told_is_looked_for_where_it_was_told(told: str) -> None:
    task = cut(load_tasks(Level.LOOK)[0], 5)
    edit = build_edit(task, Path("c.mkv"), "mask-lora", "m", Variant(references=(0, 4)))
    source = task.source.frames
    inside = np.stack([boxed(mask, 0.1) for mask in task.source_masks(task.regions[0])]) > 0
    frames = np.clip(source.astype(int) + np.arange(5)[:, None, None, None] + inside[..., None], 0, 255)
    frames = frames.astype(np.uint8)
    params = find_method("mask-lora").parse({"told": told})
    given = source.copy()
    given[0][inside[0]] = task.truth.frames[0][inside[0]]
    known = {
        "the first frame": np.arange(5)[:, None, None] * np.ones_like(inside) == 0,
        "nothing": np.zeros_like(inside),
        "everything": np.ones_like(inside),
        "the background": ~inside,
    }[told]
    errors = [
        float(int(frames[place][channel]) - int(given[place][channel])) ** 2
        for place in zip(*np.nonzero(known), strict=True)
        for channel in range(3)
    ]
    found = told_figures(frames, source, edit, params).kept_psnr
    if not errors:
        assert found is None
        return
    assert found == pytest.approx(10 * np.log10(255**2 / (sum(errors) / len(errors))))


def test_references_that_are_held_are_told_too_and_equality_is_no_number() -> None:
    task = cut(load_tasks(Level.LOOK)[0], 5)
    edit = build_edit(task, Path("c.mkv"), "mask-lora", "m", Variant(references=(0, 4)))
    frames = task.source.frames.copy()
    frames[0] = task.truth.frames[0]
    params = find_method("mask-lora").parse({})
    assert told_figures(frames, task.source.frames, edit, params).kept_psnr is None
    held = find_method("mask-lora").parse({"hold_references": True})
    assert told_figures(frames, task.source.frames, edit, held).kept_psnr is not None
    frames[4] = task.truth.frames[4]
    assert told_figures(frames, task.source.frames, edit, held).kept_psnr is None
    other = find_method("st-modulator").parse({})
    assert told_figures(frames, task.source.frames, edit, other).kept_psnr is None
