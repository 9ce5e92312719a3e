"""Layout-guided attention: the numbers of the formula, and every slip that public code is known for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.attention import AttentionCall, AttentionSite, RowExtremes, SiteKind, attend
from mattebox_backend.controls.layout_attention import (
    LayoutAttention,
    LayoutStrength,
    cross_modulation,
    self_modulation,
    word_relation,
)
from mattebox_backend.controls.text_layout import TextLayout
from mattebox_backend.diffusion.control import Run, Step
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.trajectory import Trajectory
from mattebox_backend.edit import Region
from mattebox_backend.masks import stack_regions

# Two frames of 2×2 tokens: region 1 owns one token of frame 0 and two of frame 1, region 2 one of each.
OWNERS = torch.tensor([[1, 2, 0, 0], [1, 1, 2, 0]])
STRENGTH = LayoutStrength(
    cross=1.0,
    self_=0.3,
    background=0.0,
    window=0.0,
    exponent=5.0,
    smallest_reduction=2,
    neutral_specials=False,
    token_share=0.5,
)


def layout() -> TextLayout:
    """start, a, red, circle, and, hat, end, end: region 0 has words 1–3, region 1 word 5."""
    return TextLayout("a red circle and hat", torch.zeros(8, 4), ((1, 2, 3), (5,)), (0, 6, 7))


def test_self_relation_is_sameness_of_region_across_frames_and_the_background_is_one_too() -> None:
    term = self_modulation(OWNERS, OWNERS, 2, 0.3)
    relation = term.relation[term.query_classes][:, term.key_classes]
    flat = OWNERS.flatten()
    expected = torch.where(flat[:, None] == flat[None, :], 1, -1)
    assert torch.equal(relation.long(), expected)
    assert relation[0, 4] == 1, "the same region in another frame"
    assert relation[2, 7] == 1, "background and background"


def test_self_size_regulation_divides_by_all_tokens_of_all_frames() -> None:
    term = self_modulation(OWNERS, OWNERS, 2, 0.3)
    areas = {0: 3 / 8, 1: 3 / 8, 2: 2 / 8}
    expected = [0.3 * (1 - areas[int(owner)]) for owner in OWNERS.flatten()]
    assert term.strength.tolist() == pytest.approx(expected)


def test_cross_size_regulation_divides_by_the_tokens_of_the_frame() -> None:
    relation = word_relation(layout(), ((), ()), neutral_specials=False)
    term = cross_modulation(OWNERS, relation, torch.arange(8), 1.0)
    expected = [1 - 1 / 4, 1 - 1 / 4, 0, 0, 1 - 2 / 4, 1 - 2 / 4, 1 - 1 / 4, 0]
    assert term.strength.tolist() == pytest.approx(expected)


def test_rows_of_the_background_are_left_alone_in_cross_attention() -> None:
    relation = word_relation(layout(), ((), ()), neutral_specials=False)
    term = cross_modulation(OWNERS, relation, torch.arange(8), 1.0)
    assert (term.strength[OWNERS.flatten() == 0] == 0).all()
    assert term.folds


def test_the_background_can_be_pushed_from_the_words_of_regions_alone() -> None:
    relation = word_relation(layout(), ((), ()), neutral_specials=False)
    assert relation[0].tolist() == [0, -1, -1, -1, 0, -1, 0, 0]
    term = cross_modulation(OWNERS, relation, torch.arange(8), 1.0, background_weight=0.5)
    assert term.strength.tolist() == [0.75, 0.75, 0.5, 0.5, 0.5, 0.5, 0.75, 0.5]
    query, key, value = (torch.randn(1, 1, 8, 4, dtype=torch.float64, generator=seeded(n)) for n in range(3))
    attended = attend(query, key, value, [term])
    logits = (query[0, 0, 2] @ key[0, 0].T) / 2
    pushed = [1, 2, 3, 5]
    logits[pushed] -= 0.5 * (logits[pushed] - logits.min())
    torch.testing.assert_close(attended[0, 0, 2], logits.softmax(0) @ value[0, 0], atol=1e-6, rtol=1e-6)


def test_a_region_is_drawn_to_its_words_and_pushed_from_everything_else() -> None:
    relation = word_relation(layout(), ((), ()), neutral_specials=False)
    assert relation[1].tolist() == [-1, 1, 1, 1, -1, -1, -1, -1]
    assert relation[2].tolist() == [-1, -1, -1, -1, -1, 1, -1, -1]


def test_start_end_and_padding_can_be_neutral() -> None:
    relation = word_relation(layout(), ((), ()), neutral_specials=True)
    assert relation[1].tolist() == [0, 1, 1, 1, -1, -1, 0, 0]


def test_a_part_keeps_the_words_of_what_it_is_a_part_of_neutral() -> None:
    relation = word_relation(layout(), ((), (0,)), neutral_specials=False)
    assert relation[2].tolist() == [-1, 0, 0, 0, -1, 1, -1, -1]
    assert relation[1].tolist() == [-1, 1, 1, 1, -1, -1, -1, -1], "the whole is pushed from its part's words"


def test_words_that_two_regions_share_belong_to_both() -> None:
    shared = replace(layout(), words=((1, 2), (2, 3)))
    relation = word_relation(shared, ((), ()), neutral_specials=False)
    assert relation[1, 1:4].tolist() == [1, 1, -1]
    assert relation[2, 1:4].tolist() == [-1, 1, 1]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run_of(backbone: Any) -> Run:
    masks = np.zeros((2, 1, 64, 64), np.uint8)
    masks[0, :, :, :20] = 255
    masks[1, :, :, 40:] = 255
    regions = stack_regions([Region(str(k), "x", mask) for k, mask in enumerate(masks)])
    trajectory = Trajectory(np.zeros((3, 1, 4, 8, 8), np.float16))
    return Run(Denoiser(backbone), backbone.schedule.grid(2), regions, trajectory, torch.Generator())


def step(felt: float, time: float) -> Step:
    return Step(0, 2, 2, 500, felt, time)


def call_of(site: AttentionSite) -> AttentionCall:
    keys = 8 if site.kind is SiteKind.CROSS else 16
    frames = range(1)
    return AttentionCall(
        site, ("edit", "unconditional"), frames, tuple(frames), (4, 4), keys, torch.device("cpu")
    )


def sites_of(backbone: Any, control: LayoutAttention) -> list[AttentionSite]:
    return [site for site in backbone.attention_sites() if control in backbone.switchboard.listeners(site)]


def test_it_listens_where_tokens_are_coarse_enough_and_leaves_no_trace(backbone: Any) -> None:
    control = LayoutAttention(layout(), STRENGTH)
    control.prepare(run_of(backbone))
    listening = sites_of(backbone, control)
    assert {site.reduction for site in listening} == {2}
    assert {site.kind for site in listening} == {SiteKind.CROSS, SiteKind.SELF}
    control.close()
    assert sites_of(backbone, control) == []
    control.close()


@pytest.mark.parametrize(
    ("cross", "self_", "kinds"), [(1.0, 0.0, {SiteKind.CROSS}), (0.0, 0.3, {SiteKind.SELF})]
)
def test_each_kind_can_be_off(backbone: Any, cross: float, self_: float, kinds: set[SiteKind]) -> None:
    control = LayoutAttention(layout(), replace(STRENGTH, cross=cross, self_=self_, smallest_reduction=1))
    control.prepare(run_of(backbone))
    listening = sites_of(backbone, control)
    assert {site.kind for site in listening} == kinds
    assert {site.reduction for site in listening} == {1, 2}
    control.close()


def test_it_acts_within_the_window_only_and_fades_with_time(backbone: Any) -> None:
    control = LayoutAttention(layout(), STRENGTH)
    control.prepare(run_of(backbone))
    site = next(site for site in sites_of(backbone, control) if site.kind is SiteKind.CROSS)
    control.before_step(torch.empty(0), step(felt=0.1, time=0.9))
    assert list(control.terms(call_of(site))) == []
    control.before_step(torch.empty(0), step(felt=-0.1, time=1.0))
    (full,) = control.terms(call_of(site))
    control.before_step(torch.empty(0), step(felt=-0.1, time=0.5))
    (faded,) = control.terms(call_of(site))
    assert isinstance(full, RowExtremes)
    assert isinstance(faded, RowExtremes)
    torch.testing.assert_close(faded.strength, full.strength * 0.5**5)
    control.close()


def test_the_share_of_a_token_from_which_a_region_owns_it_can_be_set(backbone: Any) -> None:
    """The first region ends at column 20: a quarter into the second token of 16 pixels."""
    for share, owned in ((0.5, 4), (0.2, 8)):
        control = LayoutAttention(layout(), replace(STRENGTH, token_share=share, exponent=0.0))
        control.prepare(run_of(backbone))
        control.before_step(torch.empty(0), step(felt=-1.0, time=1.0))
        site = next(site for site in sites_of(backbone, control) if site.kind is SiteKind.SELF)
        (term,) = control.terms(call_of(site))
        assert isinstance(term, RowExtremes)
        assert int((term.query_classes == 1).sum()) == owned
        control.close()


def test_the_cross_attention_of_a_branch_with_another_text_is_left_alone(backbone: Any) -> None:
    """Its words lie elsewhere; its self attention is steered like every other branch's."""
    wide = replace(layout(), states=torch.zeros(24, 32), specials=(0, *range(6, 24)))
    latents = torch.randn(1, 1, 4, 8, 8, generator=seeded(0)).expand(2, -1, -1, -1, -1)
    text = backbone.embed("a red circle").states.expand(2, -1, -1)

    def predicted(self_: float) -> torch.Tensor:
        strength = replace(STRENGTH, exponent=0.0, self_=self_)
        control = LayoutAttention(wide, strength, other_texts=["source"])
        control.prepare(run_of(backbone))
        control.before_step(latents[0], step(felt=-1.0, time=1.0))
        result: torch.Tensor = backbone.predict(latents, 500, text, ["edit", "source"])
        control.close()
        return result

    plain = backbone.predict(latents, 500, text, ["edit", "source"])
    cross_alone = predicted(0.0)
    torch.testing.assert_close(cross_alone[1], plain[1])
    assert not torch.allclose(cross_alone[0], plain[0], atol=1e-4)
    assert not torch.allclose(predicted(0.3)[1], plain[1], atol=1e-4)


def test_both_branches_are_steered(backbone: Any) -> None:
    """With one text in both branches they must stay equal: a branch that is left out differs."""
    control = LayoutAttention(replace(layout(), states=torch.zeros(24, 32)), replace(STRENGTH, exponent=0.0))
    run = run_of(backbone)
    torch.manual_seed(0)
    latents = torch.randn(1, 1, 4, 8, 8).expand(2, -1, -1, -1, -1)
    text = backbone.embed("a red circle").states.expand(2, -1, -1)
    wide = replace(layout(), states=torch.zeros(24, 32), specials=(0, *range(6, 24)))
    control = LayoutAttention(wide, replace(STRENGTH, exponent=0.0))
    plain = backbone.predict(latents, 500, text, ["edit", "unconditional"])
    control.prepare(run)
    control.before_step(latents[0], step(felt=-1.0, time=1.0))
    steered = backbone.predict(latents, 500, text, ["edit", "unconditional"])
    control.close()
    torch.testing.assert_close(steered[0], steered[1])
    assert not torch.allclose(steered[1], plain[1], atol=1e-4)
