"""References in the window: the list, the timeline, the viewer, drops, and what a render makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mattebox_desktop.app import Desktop
from mattebox_desktop.model import commands, reference_commands
from mattebox_desktop.model.edit_request import EditRequest
from mattebox_desktop.model.project import Take
from mattebox_desktop.model.reference import Picture, Reference
from mattebox_desktop.model.region import Region
from mattebox_desktop.model.session import Compare
from mattebox_desktop.service.image_editor import image_editor
from mattebox_desktop.service.job_view import JobState, JobView, MethodInfo, ModelInfo, ParameterInfo
from mattebox_desktop.service.pixels import Fit
from mattebox_desktop.ui import reference_actions
from mattebox_desktop.ui import timeline_painting as painting
from mattebox_desktop.ui.dialogs import CommandPalette
from mattebox_desktop.ui.reference_dialogs import EditorDialog, FitDialog
from mattebox_desktop.ui.references_panel import ReferenceCard, region_menu
from mattebox_media import write_clip
from PIL import Image
from PySide6.QtCore import QMimeData, QObject, QPoint, QPointF, Qt, QTimer, QUrl, Slot
from PySide6.QtGui import QDesktopServices, QDragMoveEvent, QDropEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QDialog, QInputDialog, QMenu, QWidget
from pytestqt.qtbot import QtBot

LEFT = Qt.MouseButton.LeftButton
WAIT = 10_000
HEIGHT, WIDTH = 120, 160
BLUE, GREEN = (10, 20, 200), (10, 200, 20)

LAYOUT = MethodInfo(
    "st-modulator",
    "Layout-guided attention",
    "Each region listens to its own words.",
    True,
    (ParameterInfo("steps", "int", 50, "", "", 1, 100, ()),),
)
CARRY = MethodInfo("mask-lora", "Mask-aware LoRA", "Carries an edit on.", True, (), True, ("video",))
MODELS = [
    ModelInfo("a/large-one", "video", True, ""),
    ModelInfo("pocket-sd", "pictures", True, "", shipped=True),
    ModelInfo("pocket-wan-i2v", "video", True, "", shipped=True),
]


def flat(color: tuple[int, int, int]) -> Picture:
    return Picture(np.full((HEIGHT, WIDTH, 3), color, np.uint8), "painted.png")


def in_dialog(kind: type[QDialog], act: Callable[[Any], object], tries: int = 300) -> None:
    """Does `act` to the dialog of that kind that is about to open."""

    def look() -> None:
        dialog = QApplication.activeModalWidget()
        if isinstance(dialog, kind):
            act(dialog)
        elif tries:
            in_dialog(kind, act, tries - 1)

    QTimer.singleShot(10, look)


@pytest.fixture
def regions(opened: Desktop) -> tuple[Region, Region]:
    """“left” below “right”, which is chosen."""
    project = opened.workspace.project
    made = commands.add_region(project, "left", "a star"), commands.add_region(project, "right", "a fox")
    for region in made:
        commands.fill_mask(project, region, 0)
    opened.workspace.session.region = made[1]
    opened.window.activateWindow()
    return made


@pytest.fixture
def two(opened: Desktop, regions: tuple[Region, Region]) -> tuple[Reference, Reference]:
    """A blue reference of “left” at frame 3 and a green one of “right” at frame 8."""
    project = opened.workspace.project
    return (
        reference_commands.add_reference(project, 3, regions[0], flat(BLUE)),
        reference_commands.add_reference(project, 8, regions[1], flat(GREEN)),
    )


def cards(desktop: Desktop) -> list[ReferenceCard]:
    return desktop.window.edit.references.cards


# -- the list ------------------------------------------------------------------------------------------------


def test_the_section_teaches_and_the_first_reference_unfolds_it(
    opened: Desktop, regions: object, qtbot: QtBot
) -> None:
    section = opened.window.edit.references
    assert section.title.text() == "▸ References"
    section.title.click()
    assert section.hint.isVisible()
    assert "an edited picture of one frame" in section.hint.text()
    section.title.click()
    opened.workspace.go_to(5)
    with qtbot.waitSignal(opened.workspace.references.changed, timeout=WAIT) as told:
        opened.window.actions_.add_reference.trigger()
    assert told.args is not None
    reference = told.args[0]
    assert (reference.frame, reference.region.name) == (5, "right")
    assert section.title.text() == "▾ References (1)"
    (card,) = cards(opened)
    assert card.isVisible()
    assert not section.hint.isVisible()
    assert card.region.text() == "right"
    assert card.place.text() == "frame 5 · 00:00:00:05\nnot edited yet"
    assert opened.workspace.session.reference is reference
    reference_commands.replace_picture(opened.workspace.project, reference, flat(BLUE))
    assert card.place.text() == "frame 5 · 00:00:00:05"
    assert card.picture.pixmap().toImage().pixelColor(20, 20).getRgb()[:3] == BLUE
    opened.window.actions_.undo.trigger()
    opened.window.actions_.undo.trigger()
    assert cards(opened) == []
    assert section.title.text() == "▾ References"


def test_cards_stand_in_the_order_of_frames_and_follow_their_references(
    opened: Desktop, two: tuple[Reference, Reference], regions: tuple[Region, Region], qtbot: QtBot
) -> None:
    project = opened.workspace.project
    opened.window.edit.references.title.setChecked(True)
    assert [card.reference for card in cards(opened)] == list(two)
    reference_commands.move_reference(project, two[0], 11)
    assert [card.reference for card in cards(opened)] == [two[1], two[0]]
    qtbot.waitUntil(lambda: cards(opened)[0].y() < cards(opened)[1].y())
    commands.rename_region(project, regions[0], "disc")
    assert cards(opened)[1].region.text() == "disc"
    commands.set_range(project, 0, 10)
    assert cards(opened)[1].place.text() == "frame 11 · 00:00:00:11\noutside in and out"
    commands.set_region_visible(project, regions[1], False)
    assert cards(opened)[0].place.text() == "frame 8 · 00:00:00:08\nits region is hidden"


def test_a_click_on_a_card_goes_to_its_frame(opened: Desktop, two: tuple[Reference, Reference]) -> None:
    opened.window.edit.references.title.click()
    QTest.mouseClick(cards(opened)[1], LEFT, pos=QPoint(60, 20))
    session = opened.workspace.session
    assert (session.frame, session.reference) == (8, two[1])
    assert cards(opened)[1].property("selected")
    cards(opened)[0].go.click()
    assert (session.frame, session.reference) == (3, two[0])


def test_the_chosen_card_is_scrolled_to(
    opened: Desktop, two: tuple[Reference, Reference], regions: tuple[Region, Region], qtbot: QtBot
) -> None:
    for frame in (4, 5, 6):
        reference_commands.add_reference(opened.workspace.project, frame, regions[0], flat(GREEN))
    opened.window.edit.references.title.click()
    last = cards(opened)[-1]
    opened.workspace.session.reference = last.reference
    qtbot.waitUntil(lambda: last.visibleRegion().boundingRect().height() == last.height(), timeout=5000)


def test_the_list_is_walked_and_emptied_with_the_keyboard(
    opened: Desktop, two: tuple[Reference, Reference], regions: tuple[Region, Region]
) -> None:
    project = opened.workspace.project
    opened.window.edit.references.title.click()
    first, second = cards(opened)
    first.setFocus()
    QTest.keyClick(first, Qt.Key.Key_Down)
    assert second.hasFocus()
    QTest.keyClick(second, Qt.Key.Key_Return)
    assert opened.workspace.session.frame == 8
    keys = {region.id: list(region.masks.keys) for region in regions}
    QTest.keyClick(second, Qt.Key.Key_Delete)
    assert list(project.references) == [two[0]]
    assert {region.id: list(region.masks.keys) for region in regions} == keys, "no key of a mask went"
    assert first.hasFocus(), "the cursor goes to the neighbour"
    QTest.keyClick(first, Qt.Key.Key_Delete)
    assert list(project.references) == []
    opened.window.actions_.undo.trigger()
    assert list(project.references) == [two[0]]


def test_a_reference_is_bound_to_another_region_by_its_swatch(
    opened: Desktop, two: tuple[Reference, Reference], regions: tuple[Region, Region]
) -> None:
    menu = region_menu(opened.workspace, two[0], opened.window)
    assert [(action.text(), action.isEnabled()) for action in menu.actions()] == [
        ("right", True),
        ("left", False),
    ]
    menu.actions()[0].trigger()
    assert two[0].region is regions[1]
    assert cards(opened)[0].region.text() == "right"
    reference_commands.add_reference(opened.workspace.project, 3, regions[0], flat(GREEN))
    region_menu(opened.workspace, two[0], opened.window).actions()[1].trigger()
    assert "“left” has a reference at frame 3 already" in opened.window.notices.why.text()
    menu.deleteLater()


def test_without_a_region_it_is_said_what_to_do(opened: Desktop) -> None:
    for action in (
        opened.window.actions_.add_reference,
        opened.window.actions_.open_reference,
        opened.window.actions_.edit_reference,
    ):
        action.trigger()
        assert "There is no region yet; paint what should change" in opened.window.notices.why.text()
    assert not opened.window.actions_.remove_reference.isEnabled()


def test_which_region_is_asked_when_none_is_chosen(
    opened: Desktop, regions: tuple[Region, Region], qtbot: QtBot
) -> None:
    opened.workspace.session.region = None
    offered: list[list[str]] = []

    def choose(dialog: QInputDialog) -> None:
        offered.append(dialog.comboBoxItems())
        dialog.setTextValue(offered[0][1])
        dialog.accept()

    in_dialog(QInputDialog, choose)
    with qtbot.waitSignal(opened.workspace.references.changed, timeout=WAIT):
        opened.window.actions_.add_reference.trigger()
    assert offered == [["B  right", "A  left"]]
    assert opened.workspace.project.references[0].region is regions[0]
    in_dialog(QInputDialog, lambda dialog: dialog.reject())
    opened.window.actions_.add_reference.trigger()
    assert len(opened.workspace.project.references) == 1


# -- pictures in and out -------------------------------------------------------------------------------------


class Editor(QObject):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[Path] = []

    @Slot(QUrl)
    def open(self, url: QUrl) -> None:
        self.opened.append(Path(url.toLocalFile()))


@pytest.fixture
def editor(desktop: Desktop) -> Iterator[Editor]:
    """What the system opens pictures with."""
    made = Editor()
    QDesktopServices.setUrlHandler("file", made, "open")
    yield made
    QDesktopServices.unsetUrlHandler("file")


def test_a_frame_is_edited_elsewhere_and_comes_back(
    opened: Desktop, regions: object, editor: Editor, qtbot: QtBot
) -> None:
    workspace, window = opened.workspace, opened.window
    workspace.go_to(4)
    window.actions_.edit_reference.trigger()
    qtbot.waitUntil(lambda: len(editor.opened) == 1, timeout=WAIT)
    with qtbot.waitSignal(workspace.references.changed, timeout=WAIT):
        Image.new("RGB", (WIDTH, HEIGHT), BLUE).save(editor.opened[0])
    (reference,) = workspace.project.references
    assert tuple(reference.picture.pixels[5, 5]) == BLUE
    assert not window.notices.isVisible()
    window.actions_.edit_reference.trigger()
    qtbot.waitUntil(lambda: len(editor.opened) == 2, timeout=WAIT)
    assert len(workspace.project.references) == 1, "the frame's reference was opened again"
    assert Image.open(editor.opened[1]).getpixel((5, 5)) == BLUE
    cards(opened)[0].edit.click()
    qtbot.waitUntil(lambda: len(editor.opened) == 3, timeout=WAIT)


def test_a_damaged_picture_is_said_above_the_viewer_until_one_comes(
    opened: Desktop, regions: object, editor: Editor, qtbot: QtBot
) -> None:
    opened.window.actions_.edit_reference.trigger()
    qtbot.waitUntil(lambda: len(editor.opened) == 1, timeout=WAIT)
    editor.opened[0].write_bytes(b"")
    qtbot.waitUntil(opened.window.notices.isVisible, timeout=WAIT)
    assert opened.window.notices.what.text() == "The picture was not taken"
    assert "is empty; save it again" in opened.window.notices.why.text()
    with qtbot.waitSignal(opened.workspace.references.changed, timeout=WAIT):
        Image.new("RGB", (WIDTH, HEIGHT), BLUE).save(editor.opened[0])
    assert not opened.window.notices.isVisible()


def test_a_picture_replaces_another(
    opened: Desktop,
    two: tuple[Reference, Reference],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    qtbot: QtBot,
) -> None:
    Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9)).save(tmp_path / "grey.tif")
    picked = lambda *_: (str(tmp_path / "grey.tif"), "")  # noqa: E731
    monkeypatch.setattr(reference_actions.QFileDialog, "getOpenFileName", picked)
    with qtbot.waitSignal(opened.workspace.references.changed, timeout=WAIT):
        cards(opened)[0].replace.click()
    assert tuple(two[0].picture.pixels[0, 0]) == (9, 9, 9)
    opened.workspace.go_to(10)
    with qtbot.waitSignal(opened.workspace.references.changed, timeout=WAIT):
        opened.window.actions_.open_reference.trigger()
    assert [reference.frame for reference in opened.workspace.project.references] == [3, 8, 10]


@pytest.mark.parametrize("fit", list(Fit))
def test_a_picture_of_another_size_is_fitted_as_one_clicks(
    opened: Desktop, two: tuple[Reference, Reference], tmp_path: Path, qtbot: QtBot, fit: Fit
) -> None:
    Image.new("RGB", (400, 100), (9, 9, 9)).save(tmp_path / "wide.png")
    said: list[str] = []

    def choose(dialog: FitDialog) -> None:
        said.extend(label.text() for label in dialog.findChildren(QWidget) if hasattr(label, "text"))
        dialog.ways[fit].click()

    in_dialog(FitDialog, choose)
    with qtbot.waitSignal(opened.workspace.references.changed, timeout=WAIT):
        opened.workspace.references.replace_file(two[0], tmp_path / "wide.png")
    assert "It is 400×100 pixels, the clip is 160×120." in said
    top, middle = two[0].picture.pixels[2, 80], two[0].picture.pixels[60, 80]
    assert tuple(middle) == (9, 9, 9)
    assert (tuple(top) == (9, 9, 9)) is (fit is Fit.COVER)


def test_a_picture_that_is_not_to_fit_is_left(
    opened: Desktop, two: tuple[Reference, Reference], tmp_path: Path, qtbot: QtBot
) -> None:
    Image.new("RGB", (400, 100), (9, 9, 9)).save(tmp_path / "wide.png")
    closed: list[bool] = []
    in_dialog(FitDialog, lambda dialog: (dialog.reject(), closed.append(True)))
    opened.workspace.references.replace_file(two[0], tmp_path / "wide.png")
    qtbot.waitUntil(lambda: bool(closed), timeout=WAIT)
    assert tuple(two[0].picture.pixels[0, 0]) == BLUE


def test_a_frame_is_exported_where_one_says(
    opened: Desktop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    suggested: list[str] = []

    def save(_parent: object, _title: str, path: str, _filter: str) -> tuple[str, str]:
        suggested.append(Path(path).name)
        return str(tmp_path / "still"), ""

    monkeypatch.setattr(reference_actions.QFileDialog, "getSaveFileName", save)
    opened.workspace.go_to(7)
    opened.window.actions_.export_frame.trigger()
    qtbot.waitUntil((tmp_path / "still.png").exists, timeout=WAIT)
    assert suggested == ["square-frame-0007.png"]
    assert Image.open(tmp_path / "still.png").getpixel((20 + 14 + 5, 50)) == (250, 60, 20)


def test_the_image_editor_is_chosen(opened: Desktop) -> None:
    def choose(dialog: EditorDialog) -> None:
        dialog.program.setText(" /usr/bin/paint ")
        dialog.accept()

    in_dialog(EditorDialog, choose)
    opened.window.actions_.choose_editor.trigger()
    assert image_editor() == "/usr/bin/paint"


# -- drops ---------------------------------------------------------------------------------------------------


def drop(desktop: Desktop, at: QPointF, *paths: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    action, none = Qt.DropAction.CopyAction, Qt.KeyboardModifier.NoModifier
    desktop.window.dragMoveEvent(QDragMoveEvent(at.toPoint(), action, data, LEFT, none))
    desktop.window.dropEvent(QDropEvent(at, action, data, LEFT, none))


def place(desktop: Desktop, widget: QWidget, x: float, y: float) -> QPointF:
    return QPointF(widget.mapTo(desktop.window, QPoint(round(x), round(y))))


@pytest.fixture
def painted(tmp_path: Path) -> Path:
    Image.new("RGB", (WIDTH, HEIGHT), BLUE).save(tmp_path / "painted.png")
    return tmp_path / "painted.png"


def test_a_picture_on_the_viewer_is_a_reference_of_this_frame(
    opened: Desktop, regions: object, painted: Path, qtbot: QtBot
) -> None:
    opened.workspace.go_to(6)
    viewer = opened.window.viewer
    with qtbot.waitSignal(opened.workspace.references.changed, timeout=WAIT):
        drop(opened, place(opened, viewer, viewer.width() / 2, viewer.height() / 2), painted)
    (reference,) = opened.workspace.project.references
    assert (reference.frame, reference.region.name) == (6, "right")
    assert reference.picture.source == str(painted)


@pytest.mark.parametrize(("frame", "expected"), [(9.5, 9), (None, 2)])
def test_a_picture_on_the_timeline_is_one_of_the_frame_under_it(
    opened: Desktop, regions: object, painted: Path, qtbot: QtBot, frame: float | None, expected: int
) -> None:
    opened.workspace.go_to(2)
    timeline = opened.window.timeline
    x = 20 if frame is None else timeline.scale.x(frame)
    with qtbot.waitSignal(opened.workspace.references.changed, timeout=WAIT):
        drop(opened, place(opened, timeline, x, painting.RULER + 20), painted)
    assert [reference.frame for reference in opened.workspace.project.references] == [expected]
    assert timeline._drop is None


def test_the_frame_of_a_drop_is_marked_on_the_way(opened: Desktop, regions: object, painted: Path) -> None:
    timeline = opened.window.timeline
    at = place(opened, timeline, timeline.scale.x(4.5), painting.RULER + 20).toPoint()
    assert opened.window.reference_commands.frame_of_drop(painted, at) == 4
    before = timeline.grab().toImage()
    timeline.show_drop(None)
    assert timeline.grab().toImage() != before


def test_only_the_first_of_several_pictures_is_taken(
    opened: Desktop, regions: object, painted: Path, qtbot: QtBot
) -> None:
    viewer = opened.window.viewer
    with qtbot.waitSignal(opened.workspace.references.changed, timeout=WAIT):
        drop(opened, place(opened, viewer, 200, 200), painted, painted.with_name("other.png"))
    assert opened.window.notices.what.text() == "One picture at a time"
    assert len(opened.workspace.project.references) == 1


def test_a_dropped_video_opens_as_a_clip(
    opened: Desktop, regions: object, clip: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    other = tmp_path / "other.mkv"
    other.write_bytes(clip.read_bytes())
    opened.workspace.project.changes.mark_saved()
    viewer = opened.window.viewer
    with qtbot.waitSignal(opened.workspace.documents.replaced, timeout=WAIT):
        drop(opened, place(opened, viewer, 200, 200), other)
    clip_ = opened.workspace.project.clip
    assert clip_ is not None
    assert clip_.path == other


def test_pictures_open_as_a_sequence_where_no_reference_can_be(
    desktop: Desktop, painted: Path, qtbot: QtBot
) -> None:
    write_clip(painted.with_name("fox_%02d.png"), (np.zeros((8, 8, 3), np.uint8) for _ in range(3)), fps=24)
    picture = painted.with_name("fox_01.png")
    with qtbot.waitSignal(desktop.workspace.screen.frame_ready, timeout=WAIT):
        drop(desktop, QPointF(600, 300), picture)
    with qtbot.waitSignal(desktop.workspace.documents.replaced, timeout=WAIT):
        drop(desktop, place(desktop, desktop.window.regions, 20, 300), picture)
    assert len(desktop.workspace.project.references) == 0


# -- the timeline --------------------------------------------------------------------------------------------


def thumb(desktop: Desktop, reference: Reference) -> QPoint:
    timeline = desktop.window.timeline
    boxes = timeline.references.boxes(timeline.scale, timeline.references_row)
    return next(box.center() for other, box in boxes if other is reference).toPoint()


def along(desktop: Desktop, frame: float) -> QPoint:
    timeline = desktop.window.timeline
    return QPoint(round(timeline.scale.x(frame)), round(timeline.references_row.center().y()))


def test_the_row_is_there_while_there_are_references(
    opened: Desktop, regions: object, two: tuple[Reference, Reference]
) -> None:
    timeline, project = opened.window.timeline, opened.workspace.project
    height = timeline.sizeHint().height()
    assert timeline.references_row.height() > 0
    image = timeline.grab().toImage()
    for reference, color in zip(two, (BLUE, GREEN), strict=True):
        shown = image.pixelColor(thumb(opened, reference))
        assert np.abs(np.array(shown.getRgb()[:3]) - color).max() < 40
    for reference in two:
        reference_commands.remove_reference(project, reference)
    assert timeline.references_row.height() == 0
    assert timeline.sizeHint().height() < height


def test_a_click_on_a_thumbnail_goes_there(opened: Desktop, two: tuple[Reference, Reference]) -> None:
    session = opened.workspace.session
    QTest.mouseClick(opened.window.timeline, LEFT, pos=thumb(opened, two[1]))
    assert (session.reference, session.frame) == (two[1], 8)
    assert not opened.workspace.project.changes.busy
    assert opened.workspace.project.changes.undo_title == "Add reference"


def test_a_drag_moves_a_reference_as_one_step(opened: Desktop, two: tuple[Reference, Reference]) -> None:
    timeline, project = opened.window.timeline, opened.workspace.project
    QTest.mousePress(timeline, LEFT, pos=thumb(opened, two[0]))
    for frame in (4.5, 5.5, 6.5):
        QTest.mouseMove(timeline, along(opened, frame))
        assert two[0].frame == int(frame)
    assert opened.workspace.session.frame == 6, "the playhead goes with it"
    assert cards(opened)[0].place.text().startswith("frame 6 ")
    QTest.mouseRelease(timeline, LEFT, pos=along(opened, 6.5))
    assert project.changes.undo_title == "Move reference"
    opened.window.actions_.undo.trigger()
    assert two[0].frame == 3


def test_a_drag_does_not_land_on_another_of_the_region(
    opened: Desktop, two: tuple[Reference, Reference], regions: tuple[Region, Region]
) -> None:
    timeline, project = opened.window.timeline, opened.workspace.project
    taken = reference_commands.add_reference(project, 5, regions[0], flat(GREEN))
    QTest.mousePress(timeline, LEFT, pos=thumb(opened, two[0]))
    QTest.mouseMove(timeline, along(opened, 4.5))
    QTest.mouseMove(timeline, along(opened, 5.5))
    assert (two[0].frame, taken.frame) == (4, 5)
    QTest.mouseMove(timeline, along(opened, 6.5))
    QTest.mouseRelease(timeline, LEFT, pos=along(opened, 6.5))
    assert (two[0].frame, taken.frame) == (6, 5)


def test_escape_takes_a_drag_back(opened: Desktop, two: tuple[Reference, Reference]) -> None:
    timeline, project = opened.window.timeline, opened.workspace.project
    QTest.mousePress(timeline, LEFT, pos=thumb(opened, two[0]))
    QTest.mouseMove(timeline, along(opened, 6.5))
    QTest.keyClick(timeline, Qt.Key.Key_Escape)
    assert two[0].frame == 3
    assert not project.changes.busy
    QTest.mouseMove(timeline, along(opened, 9.5))
    QTest.mouseRelease(timeline, LEFT, pos=along(opened, 9.5))
    assert two[0].frame == 3
    assert project.changes.undo_title == "Add reference"


def test_delete_removes_the_reference_that_was_clicked_and_else_a_key(
    opened: Desktop, two: tuple[Reference, Reference], regions: tuple[Region, Region]
) -> None:
    timeline, project = opened.window.timeline, opened.workspace.project
    QTest.mouseClick(timeline, LEFT, pos=thumb(opened, two[1]))
    QTest.keyClick(timeline, Qt.Key.Key_Delete)
    assert list(project.references) == [two[0]]
    assert list(regions[1].masks.keys) == [0]
    opened.workspace.session.reference = two[0]
    QTest.mouseClick(timeline, LEFT, pos=QPoint(20, round(timeline.row(0).center().y())))
    assert not timeline.hasFocus()
    opened.window.viewer.setFocus()
    QTest.keyClick(opened.window.viewer, Qt.Key.Key_Delete)
    assert list(project.references) == [two[0]]
    assert list(regions[1].masks.keys) == []


def test_the_menu_of_a_reference(
    opened: Desktop, two: tuple[Reference, Reference], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[QMenu] = []
    monkeypatch.setattr(QMenu, "popup", lambda menu, _: shown.append(menu))
    opened.workspace.go_to(5)
    opened.window.reference_commands.show_menu(two[0], QPoint(0, 0))
    (menu,) = shown
    words = {action.text(): action for action in menu.actions() if action.text()}
    assert list(words) == [
        "Go to frame 3",
        "Edit in the image editor",
        "Replace picture…",
        "Bind to region",
        "Move the reference to this frame",
        "Remove",
    ]
    words["Move the reference to this frame"].trigger()
    assert two[0].frame == 5
    words["Remove"].trigger()
    assert list(opened.workspace.project.references) == [two[1]]
    opened.window.reference_commands.show_menu(None, QPoint(0, 0))
    assert [action.text() for action in shown[1].actions()] == [
        "Add reference from this frame",
        "Add reference from a picture…",
    ]
    for menu in shown:
        menu.deleteLater()


def test_the_playhead_goes_from_reference_to_reference(
    opened: Desktop, two: tuple[Reference, Reference]
) -> None:
    actions, session = opened.window.actions_, opened.workspace.session
    seen = []
    for action in (actions.reference_after, actions.reference_after, actions.reference_after):
        action.trigger()
        seen.append((session.frame, session.reference))
    assert seen == [(3, two[0]), (8, two[1]), (8, two[1])]
    actions.reference_before.trigger()
    assert session.frame == 3


# -- the viewer ----------------------------------------------------------------------------------------------


def test_a_reference_stands_for_its_frame_when_asked(
    opened: Desktop, two: tuple[Reference, Reference], shown: Any, qtbot: QtBot
) -> None:
    window, workspace = opened.window, opened.workspace
    workspace.session.masks_shown = False
    workspace.go_to(3)
    assert shown(5, 100) != BLUE
    window.actions_.references.trigger()
    assert shown(5, 100) == BLUE
    assert window.edit.references.shown.isChecked()
    workspace.go_to(4)
    assert shown(5, 100) != BLUE, "there is none at this frame"
    workspace.go_to(3)
    window.actions_.before.trigger()
    assert shown(5, 100) != BLUE
    window.actions_.before.trigger()
    reference_commands.replace_picture(workspace.project, two[0], flat(GREEN))
    assert shown(5, 100) == GREEN
    window.edit.references.shown.click()
    assert not window.actions_.references.isChecked()
    assert shown(5, 100) != GREEN


def test_the_chosen_reference_of_a_frame_is_shown_else_the_chosen_regions(
    opened: Desktop, two: tuple[Reference, Reference], regions: tuple[Region, Region]
) -> None:
    viewer, session = opened.window.viewer, opened.workspace.session
    reference_commands.move_reference(opened.workspace.project, two[1], 3)
    session.frame, session.references_shown, session.reference = 3, True, None
    assert viewer.reference is two[1], "of the chosen region"
    session.region = regions[0]
    assert viewer.reference is two[0]
    session.region = None
    assert viewer.reference is two[1], "of the topmost"
    session.reference = two[0]
    assert viewer.reference is two[0]


def test_a_reference_is_wiped_against_what_is_in_use(
    opened: Desktop, two: tuple[Reference, Reference], shown: Any, tmp_path: Path, qtbot: QtBot
) -> None:
    workspace, session = opened.workspace, opened.workspace.session
    session.masks_shown = False
    workspace.go_to(3)
    session.references_shown = True
    assert opened.window.actions_.wipe.isEnabled()
    session.compare = Compare.WIPE
    assert shown(130, 100) == BLUE
    assert shown(30, 50) == (250, 60, 20), "the source"
    path = tmp_path / "take.mkv"
    rate = workspace.project.clip.frame_rate
    write_clip(path, (np.full((HEIGHT, WIDTH, 3), (70, 0, 70), np.uint8) for _ in range(12)), fps=rate)
    take = Take("t", "Take 1", path, 0, 12, 0, "", "")
    commands.add_take(workspace.project, take)
    commands.use_take(workspace.project, take)
    qtbot.waitUntil(lambda: shown(30, 50) == (70, 0, 70), timeout=WAIT)
    assert shown(130, 100) == BLUE


# -- rendering -----------------------------------------------------------------------------------------------


@pytest.fixture
def sent(opened: Desktop, monkeypatch: pytest.MonkeyPatch) -> list[EditRequest]:
    """What would go to the backend."""
    requests: list[EditRequest] = []

    def submit(request: EditRequest) -> JobView:
        requests.append(request)
        return JobView(str(len(requests)), request.title, JobState.SENDING)

    monkeypatch.setattr(opened.workspace.renders, "submit", submit)
    return requests


@pytest.fixture
def carried(opened: Desktop, two: tuple[Reference, Reference]) -> tuple[Reference, Reference]:
    """Both at the in point, from which an edit is carried on."""
    for reference in two:
        reference_commands.move_reference(opened.workspace.project, reference, 0)
    return two


def tell(desktop: Desktop, *methods: MethodInfo) -> None:
    """As the backend does once it is ready."""
    backend = desktop.workspace.backend
    backend.known_methods, backend.known_models = list(methods), MODELS
    backend.methods.emit(backend.known_methods)
    backend.models.emit(backend.known_models)


def test_auto_renders_references_with_what_takes_them(
    opened: Desktop, carried: tuple[Reference, Reference], sent: list[EditRequest]
) -> None:
    edit, project = opened.window.edit, opened.workspace.project
    commands.set_parameter(project, "steps", 7)
    tell(opened, LAYOUT, CARRY)
    assert edit.method.currentText() == "Auto: references"
    assert edit.chosen == CARRY
    edit.why.click()
    assert "Edited pictures of some frames are what it is made for" in edit.why_words.text()
    edit.references.title.click()
    assert edit.references.note.text() == (
        "Auto renders with Mask-aware LoRA on pocket-wan-i2v: pocket-sd takes no references."
    )
    edit.render_button.click()
    (request,) = sent
    assert (request.method, request.backbone, dict(request.params)) == ("mask-lora", "pocket-wan-i2v", {})
    assert [(r.frame, r.region) for r in request.references] == [(0, "left"), (0, "right")]
    for reference in carried:
        reference_commands.remove_reference(project, reference)
    assert edit.method.currentText() == "Auto: layout"
    assert edit.chosen == LAYOUT
    assert not edit.references.note.isVisible()


def test_a_method_that_takes_no_references_is_not_rendered_silently(
    opened: Desktop, carried: tuple[Reference, Reference], sent: list[EditRequest]
) -> None:
    window, project = opened.window, opened.workspace.project
    tell(opened, LAYOUT, CARRY)
    commands.set_method(project, "st-modulator")
    window.edit.references.title.click()
    assert (
        "works from prompts alone: it would leave the references unused" in window.edit.references.note.text()
    )
    assert window.edit.references.auto.isVisible()
    window.actions_.render.trigger()
    assert sent == []
    assert window.notices.what.text() == "Not ready to render"
    assert "would leave the 2 references unused" in window.notices.why.text()
    assert window.notices.remedy.text() == "Choose Auto"
    window.notices.remedy.click()
    assert project.method == "auto"
    assert not window.edit.references.auto.isVisible()
    window.actions_.render.trigger()
    commands.set_method(project, "st-modulator")
    window.actions_.render_without.trigger()
    assert [(request.method, len(request.references)) for request in sent] == [
        ("mask-lora", 2),
        ("st-modulator", 0),
    ]


def test_a_machine_without_such_a_model_is_said(
    opened: Desktop, carried: tuple[Reference, Reference], sent: list[EditRequest]
) -> None:
    tell(opened, LAYOUT, CARRY)
    opened.workspace.backend.known_models = MODELS[1:2]
    opened.workspace.backend.methods.emit([LAYOUT, CARRY])
    assert opened.window.edit.references.note.text() == (
        "Mask-aware LoRA takes them, but there is no model here that it runs on."
    )
    opened.window.actions_.render.trigger()
    assert sent == []
    assert "this machine has none that it runs on" in opened.window.notices.why.text()


def test_a_model_that_does_not_fit_is_named_with_one_that_does(
    opened: Desktop, carried: tuple[Reference, Reference], sent: list[EditRequest]
) -> None:
    window, project = opened.window, opened.workspace.project
    tell(opened, LAYOUT, CARRY)
    commands.set_method(project, "mask-lora")
    window.actions_.render.trigger()
    assert sent == []
    assert "“Mask-aware LoRA” does not run on the model pocket-sd" in window.notices.why.text()
    window.notices.remedy.click()
    assert project.backbone == "pocket-wan-i2v"
    window.actions_.render.trigger()
    assert [request.backbone for request in sent] == ["pocket-wan-i2v"]


def test_the_frame_that_is_carried_on_is_asked_for(
    opened: Desktop, carried: tuple[Reference, Reference], sent: list[EditRequest]
) -> None:
    window = opened.window
    tell(opened, LAYOUT, CARRY)
    reference_commands.move_reference(opened.workspace.project, carried[1], 8)
    assert window.edit.references.note.text() == (
        "“right” needs a reference at the in point too: it is carried on from frame 0."
    )
    opened.workspace.go_to(5)
    window.actions_.render.trigger()
    assert sent == []
    assert "“right” has a reference at frame 8 and none at the in point" in window.notices.why.text()
    window.notices.remedy.click()
    assert opened.workspace.session.frame == 0


def test_references_that_are_left_out_are_said(
    opened: Desktop, carried: tuple[Reference, Reference], sent: list[EditRequest]
) -> None:
    tell(opened, LAYOUT, CARRY)
    reference_commands.move_reference(opened.workspace.project, carried[1], 8)
    commands.set_range(opened.workspace.project, 0, 8)
    opened.window.actions_.render.trigger()
    assert [r.frame for r in sent[0].references] == [0]
    assert opened.window.notices.why.text() == (
        "The reference of “right” at frame 8 is left out: it lies outside in and out."
    )


def test_a_render_waits_until_the_backend_has_told_of_its_methods(
    opened: Desktop,
    carried: tuple[Reference, Reference],
    sent: list[EditRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[bool] = []
    monkeypatch.setattr(opened.workspace.backend, "start", lambda: started.append(True))
    opened.window.actions_.render.trigger()
    assert (sent, started) == ([], [True])
    tell(opened, LAYOUT, CARRY)
    assert [request.method for request in sent] == ["mask-lora"]
    tell(opened, LAYOUT, CARRY)
    assert len(sent) == 1


# -- the rest of the window ----------------------------------------------------------------------------------


def test_deleting_a_region_takes_its_cards_along(
    opened: Desktop, two: tuple[Reference, Reference], regions: tuple[Region, Region]
) -> None:
    opened.workspace.session.reference = two[0]
    commands.remove_region(opened.workspace.project, regions[0])
    assert [card.reference for card in cards(opened)] == [two[1]]
    assert opened.workspace.session.reference is None
    opened.window.actions_.undo.trigger()
    assert [card.reference for card in cards(opened)] == list(two)


def test_the_commands_are_found_by_their_words(opened: Desktop, two: object) -> None:
    dialog = CommandPalette(opened.window.actions_.all, opened.window)
    for words, action in (
        ("add ref frame", opened.window.actions_.add_reference),
        ("remove ref", opened.window.actions_.remove_reference),
        ("show ref", opened.window.actions_.references),
        ("without ref", opened.window.actions_.render_without),
    ):
        dialog.words.setText(words)
        assert dialog.chosen is action
    dialog.deleteLater()


def test_commands_about_the_chosen_reference(opened: Desktop, two: tuple[Reference, Reference]) -> None:
    actions, project = opened.window.actions_, opened.workspace.project
    opened.workspace.go_to(5)
    actions.remove_reference.trigger()
    assert "No reference is chosen" in opened.window.notices.why.text()
    opened.workspace.session.reference = two[0]
    actions.reference_here.trigger()
    assert two[0].frame == 5
    actions.remove_reference.trigger()
    assert list(project.references) == [two[1]]
    opened.workspace.go_to(8)
    actions.remove_reference.trigger()
    assert len(project.references) == 0, "the one of this frame and the chosen region"
    assert not actions.remove_reference.isEnabled()


def test_another_project_shows_its_own(
    opened: Desktop, two: tuple[Reference, Reference], tmp_path: Path, qtbot: QtBot
) -> None:
    opened.workspace.documents.save(tmp_path / "with.mattebox")
    opened.window.commands.new()
    assert cards(opened) == []
    with qtbot.waitSignal(opened.workspace.screen.frame_ready, timeout=WAIT):
        opened.window.commands.open_path(tmp_path / "with.mattebox")
    assert [(card.reference.frame, card.region.text()) for card in cards(opened)] == [
        (3, "left"),
        (8, "right"),
    ]
    assert opened.window.edit.references.title.text().endswith("References (2)")


def test_what_a_crash_left_holds_the_references(
    opened: Desktop, two: tuple[Reference, Reference], home: Path
) -> None:
    documents = opened.workspace.documents
    documents.keep_aside()
    (kept,) = (home / "data" / "recovery").glob("*.mattebox")
    left = kept.with_name("crashed.mattebox")
    left.write_bytes(kept.read_bytes())
    opened.workspace.project.changes.mark_saved()
    opened.workspace.recover(left)
    assert [tuple(r.picture.pixels[0, 0]) for r in opened.workspace.project.references] == [BLUE, GREEN]
