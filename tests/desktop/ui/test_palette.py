"""Both palettes can be read."""

from __future__ import annotations

import pytest
from mattebox_desktop.model.region import OKABE_ITO
from mattebox_desktop.ui.palette import DARK, LIGHT, Palette
from mattebox_desktop.ui.timeline_painting import letter_is_dark
from PySide6.QtGui import QColor


def luminance(name: str) -> float:
    def linear(value: float) -> float:
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    color = QColor(name)
    return 0.2126 * linear(color.redF()) + 0.7152 * linear(color.greenF()) + 0.0722 * linear(color.blueF())


def contrast(a: str, b: str) -> float:
    """WCAG 2: (L1 + 0.05) / (L2 + 0.05)."""
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [DARK, LIGHT], ids=["dark", "light"])
@pytest.mark.parametrize("text", ["text", "quiet", "accent"])
@pytest.mark.parametrize("ground", ["ground", "panel"])
def test_words_stand_out_from_their_ground(palette: Palette, text: str, ground: str) -> None:
    assert contrast(getattr(palette, text), getattr(palette, ground)) >= 4.5


@pytest.mark.parametrize("palette", [DARK, LIGHT], ids=["dark", "light"])
def test_words_on_a_primary_button_stand_out(palette: Palette) -> None:
    assert contrast(palette.on_accent, palette.accent) >= 4.5


@pytest.mark.parametrize("color", OKABE_ITO)
def test_letter_stands_out_from_its_swatch(color: str) -> None:
    letter = "#000000" if letter_is_dark(QColor(color)) else "#ffffff"
    assert contrast(letter, color) >= 4.5
