"""Word mappings and eq. 7, written out, and on a tiny model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.controls.emphasis import parse_emphasis
from mattebox_backend.controls.prompt_to_prompt import (
    CrossAttentionControl,
    mapped,
    refine,
    replace,
    reweigh,
)
from mattebox_backend.diffusion.control import Run
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.sampler import steps_of
from mattebox_backend.diffusion.trajectory import Trajectory
from mattebox_backend.edit import Region
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.masks import stack_regions

A, RED, BLUE, CIRCLE, SHINY, HAT = 10, 11, 12, 13, 14, 15


def test_refining_a_longer_prompt_keeps_shared_words_where_they_were() -> None:
    mapping = refine([A, RED, CIRCLE], [A, SHINY, BLUE, CIRCLE], 9, 1, {})
    assert mapping.own.tolist() == [0, 0, 1, 1, 0, 0, 0, 0, 0]
    places = mapping.source.tolist()
    assert places[1] == 1
    assert places[4] == 3, "the circle was sought where it stands in the edit"
    # End and padding of one are end and padding of the other.
    assert places[0] == 0
    assert places[5:] == [4, 5, 6, 7]


def test_refining_a_shorter_prompt_stays_within_the_text() -> None:
    mapping = refine([A, SHINY, RED, CIRCLE], [A, CIRCLE], 8, 1, {})
    assert mapping.own.tolist() == [0] * 8
    assert mapping.source.tolist() == [0, 1, 4, 5, 6, 7, 7, 7]


def test_refining_prompts_that_share_nothing_keeps_the_edits_own_maps() -> None:
    mapping = refine([A, RED], [HAT], 6, 1, {0: 2.0})
    assert mapping.own.tolist() == [0, 1, 0, 0, 0, 0]
    assert mapping.weight.tolist() == [1, 2, 1, 1, 1, 1]
    empty = refine([], [], 4, 1, {})
    assert empty.source.tolist() == [0, 1, 2, 3]


def test_replacing_takes_every_map_from_its_place() -> None:
    mapping = replace([A, RED, CIRCLE], [A, BLUE, HAT], 6, 1, {1: 3.0})
    assert mapping.own.sum() == 0
    assert mapping.source.tolist() == list(range(6))
    assert mapping.weight.tolist() == [1, 1, 3, 1, 1, 1]
    with pytest.raises(ValueError, match="1 and 2 tokens"):
        replace([A], [A, BLUE], 6, 1, {})


def test_maps_are_mixed_word_by_word() -> None:
    rng = np.random.default_rng(1)
    own, source = rng.random((2, 3, 5, 9))
    mapping = refine([A, RED, CIRCLE], [A, SHINY, BLUE, CIRCLE], 9, 1, {2: 0.5, 3: 2.0})
    found = mapped(torch.from_numpy(own), torch.from_numpy(source), mapping)
    for word in range(9):
        gamma, weight = mapping.own[word].item(), mapping.weight[word].item()
        taken = source[..., int(mapping.source[word])]
        expected = weight * (gamma * own[..., word] + (1 - gamma) * taken)
        np.testing.assert_allclose(found[..., word].numpy(), expected, atol=1e-12)


def run_of(backbone: Any) -> Run:
    masks = np.full((1, 64, 64), 255, np.uint8)
    trajectory = Trajectory(np.zeros((11, 1, 4, 8, 8), np.float16))
    regions = stack_regions([Region("r", "a red circle", masks)])
    return Run(Denoiser(backbone), backbone.schedule.grid(10), regions, trajectory, torch.Generator())


def test_until_its_noise_level_the_edit_reads_as_the_reconstruction_does(backbone: Any) -> None:
    """With everything replaced and the same latents, only the values differ; without, the maps as well."""
    run, steps = run_of(backbone), steps_of(backbone.schedule.grid(10), 8, 8)
    source, edit = (backbone.embed(f"a {c} circle").states for c in ("red", "blue"))
    tokens = [backbone.tokens(f"a {c} circle") for c in ("red", "blue")]
    latents = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    branches = ["edit", "reconstruction"]

    def predict(until: float | None, index: int) -> torch.Tensor:
        mapping = replace(*tokens, len(source), 1, {})
        control = CrossAttentionControl(mapping, {"edit": "reconstruction"}, until=until or 0.0)
        try:
            if until is not None:
                control.prepare(run)
                control.before_step(latents[0], steps[index])
            with torch.no_grad():
                found: torch.Tensor = backbone.predict(latents, 300, torch.stack([edit, source]), branches)
            return found
        finally:
            control.close()

    plain, until = predict(None, 0), steps[4].felt_log_snr
    early, late = predict(until, 4), predict(until, 5)
    assert not torch.allclose(early[0], plain[0], atol=1e-5)
    torch.testing.assert_close(early[1], plain[1], atol=1e-5, rtol=1e-5)
    assert torch.equal(late, plain)


def test_a_weight_of_one_for_every_word_changes_nothing(backbone: Any) -> None:
    mapping = reweigh(6, 1, {})
    maps = torch.rand(2, 4, 6)
    assert torch.equal(mapped(maps, torch.rand(2, 4, 6), mapping), maps)


def test_emphasis_names_words_of_the_prompt(backbone: Any) -> None:
    prompt = "a red circle and a blue circle"
    assert parse_emphasis(backbone, prompt, "") == {}
    assert parse_emphasis(backbone, prompt, "red=2, circle=0.5") == {1: 2.0, 2: 0.5, 6: 0.5}
    assert parse_emphasis(backbone, prompt, "blue circle=3") == {5: 3.0, 6: 3.0}


@pytest.mark.parametrize(
    ("emphasis", "words"),
    [
        ("red", "not of the form phrase=weight"),
        ("red=much", "not of the form phrase=weight"),
        ("red=21", "weight from 0 to 20"),
        ("red=nan", "not of the form"),
        ("=2", "not of the form"),
        ("hat=2", "'hat', which is not in the prompt"),
    ],
)
def test_emphasis_that_means_nothing_is_refused_in_words(backbone: Any, emphasis: str, words: str) -> None:
    with pytest.raises(InvalidEdit, match=words):
        parse_emphasis(backbone, "a red circle", emphasis)
