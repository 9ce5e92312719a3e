"""Windows of frames, a text per frame, and predictions that a gradient can be taken of."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mattebox_backend.attention import AttentionCall, AttentionMaps, Reach, SiteKind
from mattebox_backend.diffusion.denoiser import Denoiser, Windows
from mattebox_backend.diffusion.sampler import stack_texts


@given(st.integers(1, 70), st.integers(1, 20), st.data())
def test_windows_cover_every_frame_and_all_have_one_size(frames: int, size: int, data: Any) -> None:
    stride = data.draw(st.integers(1, size))
    windows = Windows(size, stride).over(frames)
    assert {frame for window in windows for frame in window} == set(range(frames))
    assert {len(window) for window in windows} == {min(size, frames)}
    starts = [window.start for window in windows]
    assert starts == sorted(set(starts)), "a window was taken twice"
    assert all(b - a <= stride for a, b in pairwise(starts))


@pytest.mark.parametrize(("size", "stride"), [(0, 0), (4, 0), (4, 5)])
def test_windows_that_leave_gaps_are_refused(size: int, stride: int) -> None:
    with pytest.raises(ValueError, match="apart"):
        Windows(size, stride)


def latents_of(frames: int, branches: int = 1) -> torch.Tensor:
    return torch.randn(branches, frames, 4, 8, 8, generator=torch.Generator().manual_seed(frames))


def test_where_windows_overlap_their_predictions_are_averaged(backbone: Any) -> None:
    latents = latents_of(4)
    text = backbone.embed("a red circle").states.unsqueeze(0)
    found = Denoiser(backbone, Reach.ALL, Windows(3, 1)).predict(latents, 300, text, ["edit"])
    first = backbone.predict(latents[:, :3], 300, text, ["edit"])
    second = backbone.predict(latents[:, 1:], 300, text, ["edit"])
    torch.testing.assert_close(found[:, 0], first[:, 0])
    torch.testing.assert_close(found[:, 1], (first[:, 1] + second[:, 0]) / 2)
    torch.testing.assert_close(found[:, 3], second[:, 2])
    assert not torch.allclose(first[:, 1], second[:, 0], atol=1e-4), "the windows have nothing to average"


def test_listeners_are_told_which_frames_a_window_holds(backbone: Any) -> None:
    class Witness:
        frames: list[range]

        def terms(self, call: AttentionCall) -> list[Any]:
            self.frames.append(call.frames)
            return []

    witness = Witness()
    witness.frames = []
    backbone.switchboard.listen(backbone.attention_sites()[0], witness)
    try:
        text = backbone.embed("a red circle").states.unsqueeze(0)
        Denoiser(backbone, Reach.ALL, Windows(2, 2)).predict(latents_of(4), 300, text, ["edit"])
        Denoiser(backbone, Reach.OWN, Windows(2, 2)).predict(latents_of(4), 300, text, ["edit"])
    finally:
        backbone.switchboard.hush(witness)
    assert witness.frames == [range(2), range(2, 4), *(range(f, f + 1) for f in range(4))]


def test_a_text_per_frame_is_read_by_its_frame_alone(backbone: Any) -> None:
    latents = latents_of(2)
    red, blue = (backbone.embed(f"a {c} circle").states for c in ("red", "blue"))
    per_frame = torch.stack([red, blue]).unsqueeze(0)
    found = backbone.predict(latents, 300, per_frame, ["edit"], reach=Reach.OWN)
    for frame, text in enumerate((red, blue)):
        alone = backbone.predict(latents, 300, text.unsqueeze(0), ["edit"], reach=Reach.OWN)
        torch.testing.assert_close(found[:, frame], alone[:, frame], atol=1e-5, rtol=1e-5)
    shared = backbone.predict(latents, 300, red.unsqueeze(0), ["edit"])
    again = backbone.predict(latents, 300, red.expand(1, 2, -1, -1), ["edit"])
    torch.testing.assert_close(again, shared, atol=1e-5, rtol=1e-5)


def test_branches_with_one_text_and_with_one_per_frame_share_a_call() -> None:
    one, each = torch.zeros(5, 3), torch.ones(4, 5, 3)
    assert stack_texts([one, one]).shape == (2, 5, 3)
    stacked = stack_texts([one, each])
    assert stacked.shape == (2, 4, 5, 3)
    assert stacked[0].sum() == 0
    assert stacked[1].min() == 1


def test_gradients_are_the_same_when_memory_is_saved_and_listeners_are_asked_again(backbone: Any) -> None:
    """The maps that a listener caught are part of the graph either way."""

    class Catcher:
        caught: dict[str, torch.Tensor]

        def terms(self, call: AttentionCall) -> list[Any]:
            def read(maps: torch.Tensor, rows: slice) -> torch.Tensor:
                self.caught[call.site.name] = maps
                return maps

            return [AttentionMaps(read)]

    def gradient() -> torch.Tensor:
        catcher = Catcher()
        catcher.caught = {}
        for site in backbone.attention_sites():
            if site.kind is SiteKind.CROSS:
                backbone.switchboard.listen(site, catcher)
        try:
            with torch.enable_grad():
                latents = latents_of(2).requires_grad_()
                text = backbone.embed("a red circle").states.unsqueeze(0)
                backbone.predict(latents, 300, text, ["edit"])
                loss = torch.stack([maps[..., 2].mean() for maps in catcher.caught.values()]).sum()
                return torch.autograd.grad(loss, latents)[0]
        finally:
            backbone.switchboard.hush(catcher)

    plain = gradient()
    with backbone.saving_memory():
        saved = gradient()
    assert plain.abs().max() > 0
    torch.testing.assert_close(saved, plain, atol=1e-7, rtol=1e-4)


def test_branches_that_are_read_across_stay_in_one_call(
    backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reader:
        seen: list[tuple[str, ...]]

        def terms(self, call: AttentionCall) -> list[Any]:
            self.seen.append(call.branches)
            return []

    monkeypatch.setattr(type(backbone), "_fits", lambda *_: False)
    text = torch.stack([backbone.embed(p).states for p in ("a red circle", "a blue circle")])
    for couples, expected in ((False, [("a",), ("b",)]), (True, [("a", "b")])):
        reader = Reader()
        reader.seen = []
        backbone.switchboard.listen(backbone.attention_sites()[0], reader, couples_branches=couples)
        try:
            backbone.predict(latents_of(1, branches=2), 300, text, ["a", "b"])
        finally:
            backbone.switchboard.hush(reader)
        assert reader.seen == expected
    assert not backbone.switchboard.couples_branches
