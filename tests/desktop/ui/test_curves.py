"""A job's curve in the queue and in its take: a real backend process whose jobs tell figures."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mattebox_desktop.app import Desktop
from mattebox_desktop.model import commands
from mattebox_desktop.model.curve import Curve
from mattebox_desktop.model.project import Take
from mattebox_desktop.service.job_view import ConnectionState, JobState
from mattebox_desktop.ui import palette
from mattebox_desktop.ui.sparkline import Sparkline
from mattebox_proto.discovery import read_card
from mattebox_proto.paths import folders
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

SCRIPT = Path(__file__).parents[2] / "backend" / "server" / "inverting_backend.py"
SOON = 60_000  # milliseconds
STEPS = 40


@pytest.fixture
def walking(opened: Desktop, qtbot: QtBot) -> Iterator[Desktop]:
    """The desktop on a backend whose renders take a step every twentieth of a second."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    give_up = time.monotonic() + 90
    while (card := read_card(folders().backend_file)) is None or card.pid != process.pid:
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.02)
    connection = opened.workspace.backend
    connection.start()
    qtbot.waitUntil(lambda: connection.status.state is ConnectionState.READY, timeout=SOON)
    project = opened.workspace.project
    region = commands.add_region(project, "left", "a red circle")
    commands.fill_mask(project, region, 0)
    for name, value in (("steps", STEPS), ("delay", 0.05)):
        commands.set_parameter(project, name, value)
    yield opened
    opened.workspace.renders.stop()
    process.terminate()
    process.wait(60)


def line_of(spark: Sparkline) -> dict[int, float]:
    """The middle of the line in each column of pixels that it crosses, by how much of its colour is there."""
    image = spark.grab().toImage()
    accent, below = QColor(palette.current.accent).red(), image.pixelColor(0, image.height() - 1).red()
    first = 18  # below the words
    found: dict[int, float] = {}
    for x in range(image.width()):
        reds = [image.pixelColor(x, y).red() for y in range(first, image.height())]
        share = np.clip((np.array(reds, float) - below) / (accent - below), 0, 1)
        if share.sum() > 0.5:
            found[x] = first + float((share * np.arange(len(reds))).sum() / share.sum())
    return found


def test_a_running_job_shows_its_curve_and_the_take_keeps_it(walking: Desktop, qtbot: QtBot) -> None:
    workspace, window = walking.workspace, walking.window
    window.tabs.setCurrentWidget(window.queue)
    commands.set_parameter(workspace.project, "figures", True)
    with qtbot.waitSignal(workspace.take_added, timeout=SOON):
        window.edit.render_button.click()
        (row,) = window.queue.rows.values()
        assert not row.curves.isVisible()
        qtbot.waitUntil(lambda: bool(row.curves.lines), timeout=SOON)
        (spark,) = row.curves.lines.values()
        qtbot.waitUntil(lambda: spark.curve.last[0] >= STEPS // 2, timeout=SOON)
        (job,) = workspace.renders.jobs
        assert job.state is JobState.RUNNING
        assert spark.isVisible()
        drawn = line_of(spark)
        reached = (spark.curve.last[0] - 1) / (STEPS - 1)
        assert max(drawn) == pytest.approx(reached * spark.width(), abs=6)
        assert "length of the walk: first " in spark.toolTip()
        assert spark.accessibleName() == spark.curve.words
    assert [step for step, _ in spark.curve.points] == list(range(1, STEPS + 1))
    window.tabs.setCurrentWidget(window.takes)
    (card,) = window.takes.cards
    (kept,) = card.curves.lines.values()
    assert kept.isVisible()
    assert kept.curve == spark.curve


def test_a_job_without_figures_shows_no_curve(walking: Desktop, qtbot: QtBot) -> None:
    workspace, window = walking.workspace, walking.window
    commands.set_parameter(workspace.project, "steps", 2)
    with qtbot.waitSignal(workspace.take_added, timeout=SOON):
        window.edit.render_button.click()
    window.tabs.setCurrentWidget(window.queue)
    (row,) = window.queue.rows.values()
    assert row.isVisible()
    assert not row.curves.isVisible()
    window.tabs.setCurrentWidget(window.takes)
    (card,) = window.takes.cards
    assert card.isVisible()
    assert not card.curves.isVisible()


def test_a_take_with_much_to_say_still_shows_its_whole_curve(opened: Desktop, qtbot: QtBot) -> None:
    report = {
        "background_exact_share": 1.0,
        "seconds": {"tune": 3725.0},
        "curves": {"motion loss": [[1, 0.5], [2, 0.25]]},
    }
    window = opened.window
    take = Take("t1", "Take 1", Path("none.mkv"), 0, 6, 123456789, "blue", "2026-01-01T00:00:00Z", report)
    commands.add_take(opened.workspace.project, take)
    window.tabs.setCurrentWidget(window.takes)
    (card,) = window.takes.cards
    (spark,) = card.curves.lines.values()
    qtbot.waitUntil(spark.isVisible)
    qtbot.wait(50)
    assert spark.height() == spark.sizeHint().height()
    assert spark.visibleRegion().boundingRect() == spark.rect()
    for label in card.findChildren(QLabel):
        assert label.height() >= label.heightForWidth(label.width()), "a line is cut off"


@pytest.fixture
def shown(qtbot: QtBot) -> Sparkline:
    spark = Sparkline(Curve("loss", ((1, 8.0), (51, 4.0), (101, 0.0)), 101))
    qtbot.addWidget(spark)
    spark.resize(204, spark.sizeHint().height())
    spark.show()
    return spark


def test_the_line_goes_from_the_first_value_to_the_last_in_the_colour_of_the_theme(shown: Sparkline) -> None:
    area, drawn = shown.line_area, line_of(shown)
    assert min(drawn) == pytest.approx(area.left(), abs=2)
    assert max(drawn) == pytest.approx(area.right(), abs=4)
    assert drawn[min(drawn)] == pytest.approx(area.top(), abs=2)
    assert drawn[max(drawn)] == pytest.approx(area.bottom(), abs=2)
    assert drawn[102] == pytest.approx(area.center().y(), abs=2)


def test_half_a_curve_takes_half_the_width(shown: Sparkline) -> None:
    shown.show_curve(Curve("loss", ((1, 8.0), (51, 0.0)), 101))
    drawn = line_of(shown)
    assert max(drawn) == pytest.approx(102, abs=4)
    assert drawn[max(drawn)] == pytest.approx(shown.line_area.bottom(), abs=2)


@pytest.mark.parametrize("points", [((1, 3.0),), ((1, 3.0), (2, 3.0), (3, 3.0))])
def test_a_curve_of_one_value_lies_in_the_middle(
    shown: Sparkline, points: tuple[tuple[int, float], ...]
) -> None:
    shown.show_curve(Curve("loss", points, len(points)))
    drawn = line_of(shown)
    assert drawn
    assert set(np.round(list(drawn.values()) - np.float64(shown.line_area.center().y()))) <= {-1, 0, 1}
