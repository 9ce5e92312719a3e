"""The region list, the Edit tab, takes and export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mattebox_desktop.app import Desktop
from mattebox_desktop.model import commands
from mattebox_desktop.model.project import Take
from mattebox_desktop.model.region import MaskMode
from mattebox_desktop.service.export import EXPORT_FORMATS
from mattebox_desktop.service.job_view import MethodInfo, ParameterInfo
from mattebox_desktop.service.wire import model_infos
from mattebox_desktop.ui.dialogs import CommandPalette, ExportDialog
from mattebox_desktop.ui.parts import PANEL_MARGIN
from mattebox_media import open_clip, write_clip
from mattebox_proto.mattebox.v1 import system_pb2
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

LEFT = Qt.MouseButton.LeftButton


def test_name_and_prompt_are_typed_in_place_and_undone(opened: Desktop) -> None:
    window, project = opened.window, opened.workspace.project
    window.regions.add()
    row = window.regions.rows[0]
    QTest.keyClicks(row.prompt, "a red star")
    row.name.selectAll()
    QTest.keyClicks(row.name, "left disc")
    assert (project.regions[0].prompt, project.regions[0].name) == ("a red star", "left disc")
    window.actions_.undo.trigger()
    assert row.name.text() == "Region A"
    window.actions_.undo.trigger()
    assert row.prompt.text() == ""
    window.actions_.undo.trigger()
    assert window.regions.rows == []


def test_letters_typed_into_a_field_do_not_change_the_tool(opened: Desktop) -> None:
    window, session = opened.window, opened.workspace.session
    window.activateWindow()
    window.regions.add()
    tool = session.tool
    QTest.keyClicks(window.regions.rows[0].prompt, "boxer")
    assert session.tool is tool
    assert opened.workspace.project.regions[0].prompt == "boxer"


def test_regions_are_listed_topmost_first_and_reordered(opened: Desktop) -> None:
    window, project = opened.window, opened.workspace.project
    for _ in range(3):
        window.regions.add()
    assert [row.region.letter for row in window.regions.rows] == ["C", "B", "A"]
    opened.workspace.session.region = project.regions[0]
    window.actions_.raise_region.trigger()
    assert [row.region.letter for row in window.regions.rows] == ["C", "A", "B"]
    window.commands.choose_region(0)
    assert opened.workspace.session.region is project.regions[2]
    window.regions.rows[0].delete.click()
    assert [row.region.letter for row in window.regions.rows] == ["A", "B"]
    assert len({region.color for region in project.regions}) == 2


def test_edge_of_the_chosen_region_is_set_in_its_row(opened: Desktop) -> None:
    window, project = opened.window, opened.workspace.project
    for _ in range(2):
        window.regions.add()
    top, below = window.regions.rows
    assert top.edge.isVisible()
    assert not below.edge.isVisible()
    assert top.minimumSizeHint().width() < window.regions.minimumWidth() - 2 * PANEL_MARGIN
    edge, region = top.edge, top.region
    edge.feather.setValue(3)
    assert not edge.dilation.isVisible()
    edge.mode.setCurrentText("Grown")
    edge.mode.activated.emit(edge.mode.currentIndex())
    assert edge.dilation.isVisible()
    edge.dilation.setValue(5)
    assert (region.mode, region.dilation, region.feather) == (MaskMode.DILATED, 5, 3)
    assert project.regions[0].feather == 0
    window.actions_.undo.trigger()
    assert (edge.mode.currentText(), edge.feather.value()) == ("As painted", 0)


METHOD = MethodInfo(
    "st-modulator",
    "Layout-guided attention",
    "Each region listens to its own words.",
    True,
    (
        ParameterInfo("steps", "int", 50, "steps", "Noise levels.", 1, 1000, ()),
        ParameterInfo("blend", "bool", True, "", "Keep the background.", None, None, ()),
        ParameterInfo("sizes", "int", 2, "", "Sizes.", 1, 8, ("1", "2", "4")),
    ),
)


def test_parameters_come_from_the_method_and_keep_their_types(opened: Desktop) -> None:
    edit, project = opened.window.edit, opened.workspace.project
    edit.set_methods([METHOD])
    edit.more.click()
    fields = edit.parameters.fields
    fields["blend"].click()
    fields["sizes"].setCurrentText("4")
    fields["sizes"].textActivated.emit("4")
    fields["steps"].setValue(30)
    assert dict(project.params) == {"blend": False, "sizes": 4, "steps": 30}
    edit.draft.click()
    assert project.params["steps"] == 20
    edit.final.click()
    assert "steps" not in project.params
    opened.window.actions_.undo.trigger()
    assert fields["steps"].value() == 20


def test_defaults_are_those_of_the_chosen_model(opened: Desktop) -> None:
    edit, project = opened.window.edit, opened.workspace.project
    edit.set_methods([METHOD])
    message = system_pb2.Model(id="pocket-sd", available=True)
    message.defaults["st-modulator"].params["steps"].integer = 30
    edit.set_models(model_infos([message, system_pb2.Model(id="other", available=True)]))
    edit.more.click()
    assert edit.parameters.fields["steps"].value() == 30
    assert edit.final.isChecked()
    edit.parameters.fields["steps"].setValue(50)
    assert dict(project.params) == {"steps": 50}, "the method's default is not this model's"
    edit.draft.click()
    assert project.params["steps"] == 12
    edit.final.click()
    assert dict(project.params) == {}
    commands.set_backbone(project, "other")
    assert edit.parameters.fields["steps"].value() == 50


def test_methods_not_in_this_version_cannot_be_chosen(opened: Desktop) -> None:
    edit = opened.window.edit
    edit.set_methods([METHOD, MethodInfo("reatco", "Re-attention", "", False, ())])
    assert edit.method.itemText(2) == "Re-attention (not yet)"
    assert not edit.method.model().item(2).isEnabled()
    edit.why.click()
    assert "st-modulator" in edit.why_words.text()


def test_prompt_typed_in_the_panel_is_the_projects(opened: Desktop) -> None:
    QTest.keyClicks(opened.window.edit.prompt, "a red star on grass")
    assert opened.workspace.project.prompt == "a red star on grass"
    opened.window.actions_.undo.trigger()
    assert opened.window.edit.prompt.toPlainText() == ""


def test_rendering_without_a_region_says_what_is_missing(opened: Desktop) -> None:
    opened.window.edit.render_button.click()
    assert "no region yet" in opened.window.notices.why.text()
    assert opened.workspace.renders.jobs == []


@pytest.fixture
def take(opened: Desktop, tmp_path: Path) -> Take:
    path = tmp_path / "take.mkv"
    rate = opened.workspace.project.clip.frame_rate
    write_clip(path, (np.full((120, 160, 3), (0, 0, 200), np.uint8) for _ in range(6)), fps=rate)
    made = Take(
        "t1", "Take 1", path, 3, 9, 7, "blue", "2026-01-01T00:00:00Z", {"background_exact_share": 1.0}
    )
    commands.add_take(opened.workspace.project, made)
    return made


def test_take_in_use_is_shown_where_it_covers_the_clip(opened: Desktop, take: Take, qtbot: QtBot) -> None:
    shown: dict[int, np.ndarray | None] = {}
    opened.workspace.screen.frame_ready.connect(lambda index, _, front: shown.__setitem__(index, front))
    card = opened.window.takes.cards[0]
    QTest.mouseClick(card, LEFT)
    assert opened.workspace.project.take_in_use == "t1"
    opened.workspace.go_to(4)
    qtbot.waitUntil(lambda: shown.get(4) is not None, timeout=5000)
    assert tuple(shown[4][5, 5]) == (0, 0, 200)
    opened.workspace.go_to(10)
    qtbot.waitUntil(lambda: 10 in shown, timeout=5000)
    assert shown[10] is None
    card.delete.click()
    assert opened.workspace.project.take_in_use is None
    assert opened.window.takes.cards == []
    opened.window.actions_.undo.trigger()
    assert opened.workspace.project.take_in_use == "t1"


def test_export_puts_the_take_over_the_source(
    opened: Desktop, take: Take, tmp_path: Path, qtbot: QtBot
) -> None:
    target = tmp_path / "out.mkv"
    states: list[str] = []
    opened.workspace.exports.changed.connect(lambda row: states.append(str(row.state)))
    opened.workspace.export(target, EXPORT_FORMATS[3].format, 0, 12, take)
    qtbot.waitUntil(lambda: bool(states) and states[-1] == "done", timeout=20_000)
    clip = opened.workspace.project.clip
    with open_clip(target) as out, open_clip(clip.path) as source:
        assert out.info.frame_count == 12
        np.testing.assert_array_equal(out.frame(2), source.frame(2))
        assert tuple(out.frame(3)[0, 0]) == tuple(out.frame(8)[0, 0]) == (0, 0, 200)
        np.testing.assert_array_equal(out.frame(9), source.frame(9))


def test_export_into_no_folder_is_said_and_leaves_nothing(opened: Desktop, tmp_path: Path) -> None:
    opened.workspace.export(tmp_path / "none" / "out.mp4", EXPORT_FORMATS[0].format, 0, 12, None)
    assert "no folder" in opened.window.notices.why.text()
    assert not (tmp_path / "none").exists()


def test_export_dialog_follows_the_format(opened: Desktop, tmp_path: Path) -> None:
    dialog = ExportDialog(opened.workspace.project, None, tmp_path, "fox", opened.window)
    assert dialog.target == tmp_path / "fox.mp4"
    dialog.format.setCurrentIndex(4)
    assert dialog.target == tmp_path / "fox_%04d.png"
    dialog.format.setCurrentIndex(2)
    assert dialog.target == tmp_path / "fox.mov"
    dialog.range.setCurrentIndex(1)
    assert dialog.frames == (0, 12)
    dialog.deleteLater()


def test_command_palette_finds_an_action_by_its_words(opened: Desktop) -> None:
    dialog = CommandPalette(opened.window.actions_.all, opened.window)
    dialog.words.setText("add reg")
    assert dialog.chosen is opened.window.actions_.add_region
    dialog.deleteLater()


def test_every_shortcut_is_used_once(opened: Desktop) -> None:
    keys = [key.toString() for action in opened.window.actions_.all for key in action.shortcuts()]
    assert len(keys) == len(set(keys))
    assert all(action.toolTip() for action in opened.window.actions_.all)
