"""docs/edit-file.md says what every key of the report means."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from mattebox_backend.render.report import Report
from mattebox_backend.render.stages import Stage

ROOT = Path(__file__).parents[3]


def test_every_key_of_the_report_is_documented() -> None:
    section = (ROOT / "docs" / "edit-file.md").read_text(encoding="utf-8").split("## The report")[1]
    section = section.split("\n## ")[0]
    for name in ["take", *(field.name for field in fields(Report)), *Stage, "write"]:
        assert f"`{name}`" in section
