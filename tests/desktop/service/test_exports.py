"""One export at a time, and never one that hangs."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from mattebox_desktop.service.export import ExportRequest
from mattebox_desktop.service.exports import Exports
from mattebox_media import OutputFormat, open_clip, write_clip
from pytestqt.qtbot import QtBot


def test_after_a_fault_of_our_own_the_next_export_starts(tmp_path: Path, qtbot: QtBot) -> None:
    clip = tmp_path / "clip.mkv"
    write_clip(clip, [np.full((32, 48, 3), 40 * index, np.uint8) for index in range(3)], fps=Fraction(25))
    whole = ExportRequest(clip, None, 0, 0, 0, 3, tmp_path / "out.mkv", OutputFormat.FFV1, kept=(clip,))
    no_number: Any = "1"
    exports = Exports()
    with qtbot.waitSignal(exports.failed, timeout=20_000) as failed:
        exports.start(replace(whole, start=no_number))
    assert failed.args[0] == "The export failed"
    assert exports.running is None
    exports.start(whole)
    qtbot.waitUntil(lambda: exports.running is None, timeout=20_000)
    with open_clip(whole.target) as made:
        assert made.info.frame_count == 3
