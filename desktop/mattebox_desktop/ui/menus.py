"""The menu bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtGui import QAction

if TYPE_CHECKING:
    from mattebox_desktop.ui.main_window import MainWindow


def build_menus(window: MainWindow) -> None:
    """Fills the window's menu bar; a None stands for a line between two groups."""
    a = window.actions_
    menus: dict[str, list[QAction | None]] = {
        "&File": [
            a.new,
            a.open,
            a.recover,
            None,
            a.save,
            a.save_as,
            None,
            a.export,
            a.export_frame,
            None,
            a.quit,
        ],
        "&Edit": [a.undo, a.redo, None, a.palette],
        "&Clip": [
            a.play,
            a.faster,
            a.pause,
            a.backwards,
            None,
            a.back,
            a.forward,
            a.back_ten,
            a.forward_ten,
            a.home,
            a.end,
            None,
            a.set_in,
            a.set_out,
            a.whole_clip,
        ],
        "&Region": [
            a.add_region,
            a.delete_region,
            a.raise_region,
            a.lower_region,
            None,
            a.hold_range,
            a.hold_span,
            None,
            a.fill_mask,
            a.clear_mask,
            a.delete_key,
            None,
            a.select,
            a.brush,
            a.erase,
            a.box,
            None,
            a.smaller,
            a.larger,
            a.softer,
            a.harder,
        ],
        "Reference&s": [
            a.add_reference,
            a.open_reference,
            a.edit_reference,
            None,
            a.replace_reference,
            a.reference_here,
            a.remove_reference,
            None,
            a.reference_before,
            a.reference_after,
            a.references,
            None,
            a.choose_editor,
        ],
        "Re&nder": [a.render, a.render_without, None, a.cancel, None, a.describe_source, a.describe_prompt],
        "&View": [
            a.fit,
            a.actual_size,
            a.zoom_in,
            a.zoom_out,
            None,
            a.masks,
            a.before,
            a.wipe,
            a.references,
            None,
        ],
        "&Help": [a.shortcuts, a.report, None, a.about],
    }
    for title, actions in menus.items():
        menu = window.menuBar().addMenu(title)
        for action in actions:
            if action is None:
                menu.addSeparator()
            else:
                menu.addAction(action)
        if title == "&View":
            for dock in window.docks:
                menu.addAction(dock.toggleViewAction())
            menu.addSeparator()
            menu.addAction(a.light)
