"""Working on the part of the picture around the regions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mattebox_backend.backbones.protocol import WorkingSize
from mattebox_backend.controls.composite import fit
from mattebox_backend.edit import Region
from mattebox_backend.masks import area_coverage, stack_regions
from mattebox_backend.render.view import View, focus
from numpy.typing import NDArray

UNIT = WorkingSize(16, 16, 2, 2)


def stack_of(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (96, 128), feather: int = 0) -> Any:
    """A region per box (top, bottom, left, right), each in a frame of its own."""
    regions = []
    for number, (top, bottom, left, right) in enumerate(boxes):
        masks = np.zeros((len(boxes), *size), np.uint8)
        masks[number, top:bottom, left:right] = 255
        regions.append(Region(str(number), "x", masks, feather=feather))
    return stack_regions(regions)


def whole(width: int, height: int) -> WorkingSize:
    return WorkingSize(width, height, width // 8, height // 8)


@pytest.mark.parametrize("margin", [0.0, 0.1])
@pytest.mark.parametrize("box", [(40, 50, 60, 70), (0, 5, 0, 9), (90, 96, 100, 128), (0, 96, 30, 40)])
@pytest.mark.parametrize("size", [(128, 96), (256, 192), (64, 48)])
def test_it_holds_the_regions_with_their_margin_in_whole_units(
    size: tuple[int, int], box: tuple[int, int, int, int], margin: float
) -> None:
    view = focus(stack_of(box), whole(*size), UNIT, margin)
    scale, around = size[0] / 128, margin * size[0]
    assert view.size.width % 16 == view.size.height % 16 == 0
    assert (view.size.latent_width, view.size.latent_height) == (view.size.width // 8, view.size.height // 8)
    for low, high, start, length, side in (
        (box[0], box[1], view.top, view.size.height, size[1]),
        (box[2], box[3], view.left, view.size.width, size[0]),
    ):
        assert 0 <= start <= max(0, low * scale - around) + 0.5
        assert min(side, high * scale + around) - 0.5 <= start + length <= side
        assert length < (high - low) * scale + 2 * around + 16 or length == side


def test_it_spans_all_frames_and_feathers() -> None:
    stack = stack_of((40, 44, 10, 14), (40, 44, 60, 64), feather=5)
    view = focus(stack, whole(128, 96), UNIT, 0.0)
    assert view.left <= 5
    assert view.left + view.size.width >= 69
    assert view.size.height == 16


def test_where_nothing_is_gained_it_is_the_whole() -> None:
    assert focus(stack_of((1, 95, 1, 127)), whole(128, 96), UNIT, 0.0).box is None
    assert focus(stack_of((0, 0, 0, 0)), whole(128, 96), UNIT, 0.0).everything
    view = View(whole(128, 96), whole(128, 96))
    assert view.matte(96, 128) is None


def picture(height: int, width: int, dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(2).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype)


def test_what_is_taken_and_put_back_is_the_part() -> None:
    view = focus(stack_of((40, 50, 60, 70)), whole(128, 96), UNIT, 0.0)
    left, top, width, height = view.box or (0, 0, 0, 0)
    source = picture(96, 128)
    part = view.take(source)
    assert np.array_equal(part, source[top : top + height, left : left + width])
    put = view.put(np.full((height, width, 3), 0.5, np.float32), source)
    assert put.shape == (96, 128, 3)
    inside = view.matte(96, 128)
    assert inside is not None
    assert (put[inside > 0] == 0.5).all()
    np.testing.assert_allclose(put[inside == 0], source[inside == 0] / 255, atol=1e-6)
    assert inside.sum() == width * height


def test_deep_frames_of_another_size_have_the_same_part() -> None:
    view = focus(stack_of((40, 50, 60, 70)), whole(64, 48), UNIT, 0.0)
    source = picture(96, 128, np.uint16)
    eight = np.rint(source / 257).astype(np.uint8)
    expected = fit(eight.astype(np.float32) / 255, 48, 64)
    left, top, width, height = view.box or (0, 0, 0, 0)
    np.testing.assert_allclose(
        view.take(source) / 255, expected[top : top + height, left : left + width], atol=1 / 255
    )


def test_regions_in_the_part_cover_the_latent_cells_that_they_cover_in_the_whole() -> None:
    stack = stack_of((37, 58, 61, 90), (40, 70, 70, 80))
    view = focus(stack, whole(128, 96), UNIT, 0.05)
    left, top, width, height = view.box or (0, 0, 0, 0)
    part = view.regions(stack)
    padded = np.zeros((2, 96, 128), np.uint8)
    for masks, original in zip(part.masks, stack.masks, strict=True):
        assert np.array_equal(masks, original[:, top : top + height, left : left + width])
        padded[:, top : top + height, left : left + width] = masks
        assert np.array_equal(padded, original), "a region was cut off"
    expected = area_coverage(np.maximum(*part.masks), height // 8, width // 8)
    np.testing.assert_allclose(part.coverage(height // 8, width // 8), expected, atol=1e-6)


FOCUSED = {"focus": True, "focus_margin": 0.0}


def outside(studio: Any) -> Any:
    from mattebox_backend.masks.modes import grow

    union = np.maximum.reduce([region.masks for region in studio.edit.regions])
    return np.stack([grow(mask, 3) for mask in union]) == 0


@pytest.mark.parametrize("method", ["st-modulator", "reatco"])
def test_every_method_works_on_the_part_alone(studio_of: Callable[..., Any], method: str) -> None:
    studio = studio_of(frames=2, height=64, width=128)
    params = {"steps": 4} | ({"map_reduction": 2, "refinements": 0} if method == "reatco" else {})
    edit = replace(studio.edit, method=method, regions=studio.edit.regions[:1])
    studio.edit = edit
    asked: list[tuple[int, int]] = []
    predict = type(studio.backbone).predict

    def witness(self: Any, latents: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(tuple(latents.shape[-2:]))
        return predict(self, latents, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(studio.backbone), "predict", witness)
        frames, report = studio.render(params=params | FOCUSED)
    assert set(asked) == {(2, 4)}, "at working size the region is 15¾ by 16½ pixels, in steps of 16"
    assert report.background_exact_share == 1.0
    assert np.array_equal(frames[outside(studio)], studio.source[outside(studio)])
    assert not np.array_equal(frames, studio.source)
    assert (report.width, report.height) == (128, 64)


def test_the_inversion_of_a_part_is_kept_apart(studio_of: Callable[..., Any]) -> None:
    studio = studio_of(frames=2, height=64, width=128)
    studio.edit = replace(studio.edit, regions=studio.edit.regions[:1])
    whole_frames, first = studio.render(params={"steps": 4})
    part_frames, second = studio.render(params={"steps": 4} | FOCUSED)
    again, third = studio.render(params={"steps": 4} | FOCUSED)
    assert (first.inversion_cached, second.inversion_cached, third.inversion_cached) == (False, False, True)
    assert np.array_equal(part_frames, again)
    assert not np.array_equal(whole_frames, part_frames)
    _, wider = studio.render(params={"steps": 4} | FOCUSED | {"focus_margin": 0.2})
    assert not wider.inversion_cached


def test_without_preserving_what_was_not_worked_on_is_the_source(studio_of: Callable[..., Any]) -> None:
    studio = studio_of(frames=1, height=64, width=128)
    studio.edit = replace(studio.edit, regions=studio.edit.regions[:1])
    frames, _ = studio.render(params={"steps": 4, "preserve": False} | FOCUSED)
    changed = (frames != studio.source).any((0, 3))
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert rows[-1] - rows[0] < 32
    assert columns[-1] - columns[0] < 32
    assert changed.sum() > 350


def test_the_preview_shows_the_whole_picture(studio_of: Callable[..., Any], render_monitor: Any) -> None:
    studio = studio_of(frames=1, height=64, width=128)
    studio.edit = replace(studio.edit, regions=studio.edit.regions[:1])
    monitor = render_monitor()
    studio.render(monitor, params={"steps": 8} | FOCUSED)
    assert monitor.previews
    assert "Working on 16×16 of 96×48 pixels, around the regions." in monitor.logged
    assert {preview.shape for preview in monitor.previews} == {(48, 96, 3)}


def test_a_smoothed_edge_shows_in_the_composite_and_ends_with_the_feather(studio: Any) -> None:
    sharp, _ = studio.render()
    soft, report = studio.render(params={**studio.edit.params, "boundary_smoothing": 3.0})
    assert report.background_exact_share == 1.0
    inside = ~outside(studio)
    assert not np.array_equal(sharp[inside], soft[inside])
    assert np.array_equal(sharp[~inside], soft[~inside])
