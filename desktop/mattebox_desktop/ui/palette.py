"""The two palettes and the style sheet made from them: the only place that names a colour of the
interface.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template

import qtawesome
from PySide6.QtCore import QTemporaryDir
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory


@dataclass(frozen=True, slots=True)
class Palette:
    ground: str
    panel: str
    raised: str
    line: str
    text: str
    quiet: str
    accent: str
    on_accent: str
    danger: str
    warning: str
    good: str
    surround: str = "#767676"  # 18 % reflectance in sRGB: colours are judged against it


DARK = Palette(
    ground="#1c1d20",
    panel="#25272b",
    raised="#2f3237",
    line="#383b41",
    text="#e6e8eb",
    quiet="#9aa1ab",
    accent="#5b9dff",
    on_accent="#0d1420",
    danger="#e5484d",
    warning="#e0a030",
    good="#46a758",
)
LIGHT = Palette(
    ground="#f4f5f6",
    panel="#ffffff",
    raised="#eceef1",
    line="#d9dce1",
    text="#1b1d20",
    quiet="#5f6670",
    accent="#2667d8",
    on_accent="#ffffff",
    danger="#c93a3f",
    warning="#8a5a00",
    good="#2a7e3b",
)

_SHEET = Template(
    """
* { font-size: 13px; color: $text; }
QMainWindow, QDialog { background: $ground; }
QMainWindow::separator { background: $ground; width: 4px; height: 4px; }
QMainWindow::separator:hover { background: $accent; }
QToolTip { background: $raised; color: $text; border: 1px solid $line; padding: 4px 8px; }
QMenuBar { background: $ground; padding: 2px 4px; }
QMenuBar::item { padding: 4px 8px; border-radius: 4px; background: transparent; }
QMenuBar::item:selected { background: $raised; }
QMenu { background: $panel; border: 1px solid $line; padding: 4px; }
QMenu::item { padding: 5px 28px 5px 24px; border-radius: 4px; }
QMenu::item:selected { background: $raised; }
QMenu::item:disabled { color: $quiet; }
QMenu::separator { height: 1px; background: $line; margin: 4px 8px; }
QToolBar { background: $ground; border: none; spacing: 4px; padding: 4px 12px; }
QToolBar::separator { background: $line; width: 1px; margin: 6px 8px; }
QToolButton { border: 1px solid transparent; border-radius: 4px; padding: 4px; min-height: 18px; background:
transparent; } QToolButton:hover { background: $raised; }
QToolButton:pressed { background: $line; }
QToolButton:checked { background: $raised; border-color: $accent; }
QToolButton:focus { border-color: $accent; }
QToolButton::menu-indicator { image: none; width: 0; }
QDockWidget { titlebar-close-icon: none; }
QWidget[panel="true"], QTabWidget::pane, QScrollArea > QWidget > QWidget[panel="true"] { background: $panel; }
QTabWidget::pane { border: none; }
QTabBar { background: $ground; }
QTabBar::tab { background: $ground; color: $quiet; padding: 8px 16px; border: none; border-bottom: 2px solid
transparent; } QTabBar::tab:selected { color: $text; background: $panel; border-bottom: 2px solid $accent; }
QTabBar::tab:hover { color: $text; }
QLabel[quiet="true"] { color: $quiet; font-size: 12px; }
QLabel[heading="true"] { color: $quiet; font-size: 12px; font-weight: 600; }
QLabel[title="true"] { font-size: 18px; font-weight: 600; }
QLineEdit, QPlainTextEdit, QSpinBox, QDoubleSpinBox, QComboBox {
    background: $ground; border: 1px solid $line; border-radius: 4px; padding: 3px 8px; min-height: 20px;
    selection-background-color: $accent; selection-color: $on_accent;
}
QPlainTextEdit { padding: 4px; }
QAbstractSpinBox { padding: 3px 0; }
QAbstractSpinBox::up-button, QAbstractSpinBox::down-button { width: 0; border: none; subcontrol-origin:
border; } QAbstractSpinBox QLineEdit { background: transparent; border: none; padding: 0 8px; min-height: 0; }
QLineEdit:focus, QPlainTextEdit:focus, QSpinBox:focus, QDoubleSpinBox:focus, QComboBox:focus { border-color:
$accent; } QLineEdit:disabled, QSpinBox:disabled, QDoubleSpinBox:disabled, QComboBox:disabled { color: $quiet;
} QLineEdit[flat="true"] { background: transparent; border-color: transparent; padding: 2px 4px; min-height:
18px; } QLineEdit[flat="true"]:hover { border-color: $line; }
QLineEdit[flat="true"]:focus { background: $ground; border-color: $accent; }
QComboBox::drop-down { border: none; width: 24px; }
QComboBox::down-arrow { image: url("$arrow"); width: 12px; height: 12px; }
QComboBox QAbstractItemView { background: $panel; border: 1px solid $line; selection-background-color:
$raised; selection-color: $text; } QPushButton { background: $raised; border: 1px solid $line; border-radius:
4px; padding: 4px 12px; min-height: 18px; } QPushButton:hover { border-color: $quiet; }
QPushButton:pressed { background: $line; }
QPushButton:disabled { color: $quiet; }
QPushButton:checked { border-color: $accent; color: $accent; }
QPushButton:focus { border-color: $accent; }
QPushButton[primary="true"] { background: $accent; color: $on_accent; border-color: $accent; font-weight: 600;
} QPushButton[primary="true"]:hover { border-color: $text; }
QPushButton[primary="true"]:disabled { background: $raised; color: $quiet; border-color: $line; }
QPushButton[link="true"], QPushButton[link="true"]:checked {
    background: transparent; border: none; color: $accent; padding: 2px 4px; }
QPushButton[link="true"]:hover { text-decoration: underline; }
QRadioButton, QCheckBox { spacing: 6px; }
QSlider { min-height: 20px; }
QSlider::groove:horizontal { height: 4px; background: $line; border-radius: 2px; }
QSlider::sub-page:horizontal { background: $accent; border-radius: 2px; }
QSlider::handle:horizontal { background: $text; width: 12px; height: 12px; margin: -4px 0; border-radius: 6px;
} QSlider::handle:horizontal:hover { background: $accent; }
QProgressBar { background: $line; border: none; border-radius: 2px; min-height: 4px; max-height: 4px; }
QProgressBar::chunk { background: $accent; border-radius: 2px; }
QScrollArea, QListWidget, QListView { border: none; background: transparent; }
QListWidget::item { border-radius: 4px; }
QListWidget::item:selected { background: $raised; }
QScrollBar:vertical { background: transparent; width: 10px; margin: 0; }
QScrollBar:horizontal { background: transparent; height: 10px; margin: 0; }
QScrollBar::handle { background: $line; border-radius: 4px; margin: 1px; }
QScrollBar::handle:hover { background: $quiet; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }
QFrame[rule="true"] { background: $line; max-height: 1px; min-height: 1px; border: none; }
QFrame[card="true"] { background: $ground; border: 1px solid $line; border-radius: 4px; }
QFrame[card="true"][selected="true"], QFrame[card="true"]:focus { border-color: $accent; }
QToolButton[choice="true"] { background: $ground; border: 1px solid $line; padding: 12px; }
QToolButton[choice="true"]:hover, QToolButton[choice="true"]:focus { border-color: $accent; }
QFrame[notice="error"] { background: $panel; border: none; border-left: 4px solid $danger; }
QFrame[notice="warning"] { background: $panel; border: none; border-left: 4px solid $warning; }
QFrame[notice="info"] { background: $panel; border: none; border-left: 4px solid $accent; }
QWidget[row="true"] { border-radius: 4px; background: transparent; }
QWidget[row="true"][selected="true"] { background: $raised; }
"""
)


def style_sheet(palette: Palette, arrow: str) -> str:
    """arrow: the file of a combo box's arrow, since a style sheet takes pictures only from files."""
    return _SHEET.substitute(asdict(palette), arrow=arrow)


def apply(app: QApplication, palette: Palette) -> None:
    """Gives the whole application the palette: style sheet for the parts Qt draws, colours for those we
    draw.
    """
    global current
    current = palette
    app.setStyle(QStyleFactory.create("Fusion"))
    colors = QPalette()
    role = QPalette.ColorRole
    for target, name in (
        (role.Window, palette.ground),
        (role.Base, palette.ground),
        (role.AlternateBase, palette.panel),
        (role.Button, palette.panel),
        (role.WindowText, palette.text),
        (role.Text, palette.text),
        (role.ButtonText, palette.text),
        (role.PlaceholderText, palette.quiet),
        (role.ToolTipBase, palette.raised),
        (role.ToolTipText, palette.text),
        (role.Highlight, palette.accent),
        (role.HighlightedText, palette.on_accent),
        (role.Link, palette.accent),
    ):
        colors.setColor(target, QColor(name))
    app.setPalette(colors)
    app.setStyleSheet(style_sheet(palette, _arrow_file(palette)))


def _arrow_file(palette: Palette) -> str:
    """Draws Phosphor's caret into the folder of this run's pictures and returns its path."""
    path = Path(_pictures.path()) / f"caret-{palette.quiet[1:]}.png"
    if not path.exists():
        qtawesome.icon("ph.caret-down", color=palette.quiet).pixmap(24, 24).save(str(path))
    return path.as_posix()


_pictures = QTemporaryDir()
"""Removed when the process ends."""

current: Palette = DARK
"""The palette in use; widgets that paint themselves read it when they paint."""
