"""docs/edit-file.md says what every key of the report means."""

from __future__ import annotations

import json
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


def test_a_report_keeps_its_curves_as_json_that_every_reader_takes() -> None:
    report = Report(
        method="mask-lora",
        backbone="pocket-sd",
        seed=1,
        frames=2,
        width=4,
        height=4,
        background_exact_share=1.0,
        background_psnr=None,
        seconds={},
        peak_memory_mb=1.0,
        inversion_cached=False,
        device="cpu",
        dtype="float32",
        params={},
        warnings=[],
        curves={
            "motion loss": [(1, 0.12345678), (2, 1e-9), (3, float("nan")), (4, float("inf"))],
            "none": [],
        },
    )
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert content["curves"] == {"motion loss": [[1, 0.123457], [2, 1e-9]], "none": []}
