"""Masks over time: held keys, strokes, and undo that costs what was touched."""

from __future__ import annotations

import numpy as np
import pytest
from mattebox_desktop.model import commands
from mattebox_desktop.model.brush import Brush, fill_box
from mattebox_desktop.model.errors import MaskSizeError, RangeError
from mattebox_desktop.model.mask_track import Mask
from mattebox_desktop.model.project import Project
from mattebox_desktop.model.region import Region


def full(value: int = 255) -> Mask:
    return np.full((48, 64), value, np.uint8)


def paint(project: Project, region: Region, frame: int, at: tuple[float, float]) -> None:
    with project.changes.transaction("Brush stroke"):
        stroke = region.masks.stroke(frame)
        stroke.touched(Brush(8, 1.0).draw(stroke.mask, at, at, erase=False))
        stroke.finish()


def test_painted_mask_is_held_until_the_next_painted_one(project: Project) -> None:
    region = commands.add_region(project)
    paint(project, region, 3, (10, 10))
    paint(project, region, 8, (40, 30))
    assert region.masks.mask_at(2) is None
    held = region.masks.mask_at(7)
    assert held is not None
    assert held[10, 10] == 255
    assert held[30, 40] == 0
    after = region.masks.mask_at(19)
    assert after is not None
    assert after[10, 10] == 255
    assert after[30, 40] == 255


def test_painting_a_held_frame_leaves_the_key_it_came_from_alone(project: Project) -> None:
    region = commands.add_region(project)
    paint(project, region, 0, (10, 10))
    paint(project, region, 5, (50, 40))
    first = region.masks.mask_at(4)
    assert first is not None
    assert first[40, 50] == 0


def test_hold_covers_the_span_and_nothing_else(project: Project) -> None:
    region = commands.add_region(project)
    paint(project, region, 0, (10, 10))
    paint(project, region, 12, (40, 30))
    commands.hold_mask(project, region, source=0, start=10, stop=15)
    shown = [region.masks.mask_at(frame) for frame in (9, 10, 14, 15, 19)]
    assert [mask is not None and mask[30, 40] for mask in shown] == [0, 0, 0, 255, 255]
    project.changes.undo()
    back = region.masks.mask_at(12)
    assert back is not None
    assert back[30, 40] == 255
    assert list(region.masks.keys) == [0, 12]


def test_hold_up_to_a_stop_ends_there(project: Project) -> None:
    region = commands.add_region(project)
    paint(project, region, 5, (10, 10))
    commands.hold_mask(project, region, source=5, start=0, stop=20)
    assert list(region.masks.keys) == [0]
    commands.clear_mask(project, region, 10)
    assert region.masks.mask_at(9) is not None
    assert region.masks.mask_at(10) is None


def test_hold_that_changes_nothing_is_no_step(project: Project) -> None:
    region = commands.add_region(project)
    paint(project, region, 0, (10, 10))
    commands.hold_mask(project, region, source=0, start=0, stop=20)
    assert project.changes.undo_title == "Brush stroke"


@pytest.mark.parametrize(("start", "stop"), [(5, 5), (6, 5), (-1, 4), (0, 21)])
def test_hold_over_no_frame_or_outside_the_clip_is_refused(project: Project, start: int, stop: int) -> None:
    region = commands.add_region(project)
    with pytest.raises(RangeError, match=r"between 0 and 20"):
        commands.hold_mask(project, region, 0, start, stop)
    assert project.changes.undo_title == "Add region"


def test_mask_of_another_size_is_refused_in_words(project: Project) -> None:
    region = commands.add_region(project, "left")
    with (
        pytest.raises(MaskSizeError, match=r"“left” at frame 2 is 10×20 pixels but the clip is 64×48"),
        project.changes.transaction("Paste"),
    ):
        region.masks.set_key(2, np.zeros((20, 10), np.uint8))


def test_undo_restores_every_pixel_and_keeps_only_the_touched_slice(project: Project) -> None:
    region = commands.add_region(project)
    with project.changes.transaction("Fill"):
        noise = np.random.default_rng(1).integers(0, 256, (48, 64)).astype(np.uint8)
        region.masks.set_key(0, noise.copy())
    with project.changes.transaction("Brush stroke") as transaction:
        stroke = region.masks.stroke(0)
        stroke.touched(Brush(8, 0.5).draw(stroke.mask, (20, 20), (26, 22), erase=True))
        stroke.finish()
    assert transaction.nbytes < 20 * 16
    project.changes.undo()
    mask = region.masks.mask_at(0)
    assert mask is not None
    np.testing.assert_array_equal(mask, noise)


def test_cancelled_stroke_leaves_no_trace(project: Project) -> None:
    region = commands.add_region(project)
    paint(project, region, 0, (10, 10))
    before = region.masks.mask_at(0)
    assert before is not None
    kept = before.copy()
    project.changes.begin("Brush stroke")
    stroke = region.masks.stroke(0)
    stroke.touched(fill_box(stroke.mask, (0, 0), (64, 48), erase=False))
    stroke.cancel()
    project.changes.abort()
    np.testing.assert_array_equal(before, kept)
    assert project.changes.undo_title == "Brush stroke"


def test_change_tells_which_pixels(project: Project) -> None:
    region = commands.add_region(project)
    told: list[object] = []
    region.masks.changed.connect(lambda frame, rect: told.append((frame, rect)))
    paint(project, region, 4, (32, 24))
    (_, whole), (frame, rect) = told
    assert (whole, frame) == (None, 4)
    assert (rect.left, rect.top) >= (26, 18)
    assert (rect.right, rect.bottom) <= (39, 31)


def test_spans_say_what_is_painted_and_held(project: Project) -> None:
    region = commands.add_region(project)
    paint(project, region, 3, (10, 10))
    commands.clear_mask(project, region, 9)
    spans = [(span.start, span.stop, span.filled) for span in region.masks.spans()]
    assert spans == [(3, 9, True), (9, 20, False)]


def test_a_mask_is_encoded_again_only_after_it_changed(project: Project) -> None:
    region = commands.add_region(project)
    paint(project, region, 3, (10, 10))
    paint(project, region, 9, (40, 40))
    encoded: list[int] = []

    def save() -> list[bytes]:
        encoded.clear()
        return [
            region.masks.encoded(frame, lambda mask, at=frame: _noted(encoded, at, mask))
            for frame in region.masks.keys
        ]

    first = save()
    assert encoded == [3, 9]
    save()
    assert encoded == []
    paint(project, region, 9, (20, 40))
    changed = save()
    assert encoded == [9]
    assert changed[0] == first[0]
    assert changed[1] != first[1]
    project.changes.undo()
    assert save() == first
    assert encoded == [9]


def _noted(encoded: list[int], frame: int, mask: np.ndarray) -> bytes:
    encoded.append(frame)
    return mask.tobytes()
