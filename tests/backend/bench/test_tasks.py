from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from mattebox_backend.bench.choosing import choose_tasks
from mattebox_backend.bench.errors import InvalidTasks
from mattebox_backend.bench.judging import judge
from mattebox_backend.bench.tasks import Level, cut, load_tasks, tasks_from_json, tasks_to_json
from mattebox_backend.metrics.alignment import region_alignment
from mattebox_backend.metrics.scorer import Scorer
from mattebox_backend.metrics.temporal import warp_error


def test_the_list_holds_sixty_tasks_of_four_levels() -> None:
    levels = Counter(task.level for task in load_tasks())
    assert levels == {Level.CLASS: 20, Level.INSTANCE: 20, Level.PART: 10, Level.BACKGROUND: 10}


def test_the_committed_list_is_what_the_seeds_give() -> None:
    made = {task.name: task for task in choose_tasks()}
    assert {task.name: task for task in load_tasks()} == made


def test_the_first_tasks_are_a_fair_choice_of_all_levels() -> None:
    assert Counter(task.level for task in load_tasks()[:6]) == {
        Level.CLASS: 2,
        Level.INSTANCE: 2,
        Level.PART: 1,
        Level.BACKGROUND: 1,
    }


def test_instance_tasks_edit_objects_of_one_class_each_differently() -> None:
    for task in load_tasks(Level.INSTANCE):
        assert len({item.shape for item in task.scene.objects}) == 1
        assert len({region.prompt for region in task.regions}) == len(task.regions) >= 2
        assert all(region.prompt in task.prompt for region in task.regions)


def test_regions_hold_every_pixel_that_the_true_edit_changes_but_for_soft_edges() -> None:
    for task in load_tasks()[:12]:
        inside = np.max([task.region_masks(region) for region in task.regions], axis=0) > 0
        changed = np.any(task.source.frames != task.truth.frames, axis=-1)
        assert np.count_nonzero(changed & ~inside) < 0.25 * np.count_nonzero(changed)


@pytest.mark.parametrize("level", list(Level))
def test_the_true_edit_is_judged_right_and_the_source_wrong(level: Level, scorer: Scorer) -> None:
    for task in load_tasks(level)[:3]:
        right, wrong = judge(task, task.truth.frames, scorer), judge(task, task.source.frames, scorer)
        assert right.accuracy == 1
        assert right.placement in (1, None)
        assert right.ssim == pytest.approx(1)
        assert right.boundary == 0
        assert right.psnr is None, "no number for what JSON has no number for"
        assert wrong.background_psnr is None
        assert wrong.psnr is not None
        assert wrong.accuracy is not None
        assert wrong.accuracy < 0.1
        assert wrong.background_exact == 1
        assert right.perceptual == wrong.background_perceptual == 0
        assert wrong.perceptual is not None
        assert wrong.perceptual > 0
        assert right.smoothness is not None
        assert 0.9 < right.smoothness <= 1


def test_a_scorers_figures_are_its_own_cosines_of_this_task(scorer: Scorer) -> None:
    task = load_tasks(Level.INSTANCE)[0]
    frames = task.truth.frames
    verdict = judge(task, frames, scorer)
    pictures, text = scorer.embed_pictures(list(frames)), scorer.embed_texts([task.prompt])
    unit = pictures / np.linalg.norm(pictures, axis=1, keepdims=True)
    assert verdict.clip_t == pytest.approx(np.mean(unit @ text[0]) / np.linalg.norm(text))
    assert verdict.clip_f == pytest.approx(np.mean(np.sum(unit[1:] * unit[:-1], axis=1)))
    whole = warp_error(frames, task.truth.flow, task.truth.occluded)
    assert whole
    assert verdict.q_edit == pytest.approx(verdict.clip_t / whole)
    masks = [task.region_masks(region) for region in task.regions]
    prompts = [region.prompt for region in task.regions]
    assert verdict.clip_t_region == region_alignment(scorer, frames, masks, prompts)
    assert region_alignment(scorer, frames, masks, prompts[::-1]) != verdict.clip_t_region


def test_a_task_list_survives_its_json_and_a_wrong_one_is_refused() -> None:
    tasks = load_tasks(Level.PART)
    assert tasks_from_json(tasks_to_json(tasks)) == tasks
    data = json.loads(tasks_to_json(tasks[:1]))
    data["tasks"][0]["edits"][0]["edit"] = "Melt"
    with pytest.raises(InvalidTasks, match="Melt"):
        tasks_from_json(json.dumps(data))
    with pytest.raises(InvalidTasks, match="version 9"):
        tasks_from_json('{"version": 9}')


def test_a_task_is_cut_to_the_first_frames_of_its_clip() -> None:
    task = load_tasks()[0]
    short = cut(task, 3)
    assert np.array_equal(short.source.frames, task.source.frames[:3])
    assert np.array_equal(short.region_masks(short.regions[0]), task.region_masks(task.regions[0])[:3])
    assert cut(task, 99).scene == task.scene
    assert cut(task, None) is task
