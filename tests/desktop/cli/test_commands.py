from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mattebox_desktop.cli.app import with_default_command
from mattebox_desktop.cli.edit import write_report
from mattebox_desktop.cli.failures import judge
from mattebox_desktop.cli.listings import size_text
from mattebox_desktop.cli.pictures import side_by_side
from mattebox_desktop.service.edit_pictures import read_image, read_mask
from mattebox_proto.editfile import schema
from mattebox_proto.version import version
from PIL import Image

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ([], ["open"]),
        (["clip.mp4"], ["open", "clip.mp4"]),
        (["./serve"], ["open", "./serve"]),
        (["serve", "--stop"], ["serve", "--stop"]),
        (["cache", "clear"], ["cache", "clear"]),
        (["--version"], ["--version"]),
    ],
)
def test_a_file_needs_no_command(given: list[str], meant: list[str]) -> None:
    assert with_default_command(given) == meant


def test_a_file_is_handed_to_the_desktop(mattebox: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path | None] = []

    class Desktop:
        @staticmethod
        def run(path: Path | None) -> int:
            opened.append(path)
            return 3

    monkeypatch.setitem(sys.modules, "mattebox_desktop.app", Desktop)
    assert mattebox(work / "clip.mkv").code == 3
    assert mattebox().code == 3
    assert mattebox(work / "frames" / "%04d.png").code == 3
    assert opened == [work / "clip.mkv", None, work / "frames" / "%04d.png"]


def test_version_and_schema(mattebox: Run) -> None:
    assert mattebox("--version").out == f"mattebox {version()}\n"
    assert json.loads(mattebox("schema").out) == schema()


def test_help_names_every_command(mattebox: Run) -> None:
    text = mattebox("--help").out
    for name in ("edit", "demo", "serve", "bench", "cache", "jobs", "takes", "schema"):
        assert f"  {name} " in text
        if name not in ("serve", "bench"):
            assert mattebox(name, "--help").code == 0


def test_help_answers_at_once_and_loads_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys; from mattebox_desktop.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'PySide6', 'av', 'grpc', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = os.times()
    assert (done.returncode, done.stderr) == (0, "")
    # Seconds of the processor, not of the clock: the machine may be busy with something else.
    assert after.children_user - before.children_user < 0.7


def test_a_pipe_that_closes_early_is_no_error(command: list[str]) -> None:
    first = subprocess.Popen([*command, "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stderr is not None
    first.stdout.close()
    assert first.stderr.read() == b""
    first.stderr.close()
    first.wait()


def test_a_full_disk_is_said_in_words_and_a_fault_of_ours_is_not_hidden() -> None:
    code, said = judge(OSError(28, "No space left on device", "/x/o.mp4"))
    assert code == 1
    assert said is not None
    assert said == "The disk is full (/x/o.mp4); make room and try again."
    assert judge(KeyError("ours")) == (1, None)


def test_a_report_has_the_rights_of_any_other_file(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    write_report(tmp_path / "report.json", {"take": "t1"})
    assert json.loads((tmp_path / "report.json").read_text()) == {"take": "t1"}
    assert (tmp_path / "report.json").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_full_disk_leaves_an_earlier_demo_whole(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "source.mkv").write_bytes(b"earlier")

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = subprocess.run(
        [*command, "demo", "-o", tmp_path], capture_output=True, text=True, preexec_fn=small_disk
    )
    assert (done.returncode, done.stderr) == (1, "mattebox: File too large.\n")
    assert (tmp_path / "source.mkv").read_bytes() == b"earlier"


def test_masks_of_every_kind_of_picture_are_read(tmp_path: Path) -> None:
    values = np.array([[0, 128, 255]], np.uint8)
    expected = values.tolist()
    Image.fromarray(values).save(tmp_path / "grey.png")
    Image.fromarray(np.repeat(values[..., None], 3, axis=2)).save(tmp_path / "color.png")
    Image.fromarray(values.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(values).convert("P").save(tmp_path / "palette.png")
    for name in ("grey", "color", "deep", "palette"):
        mask = read_mask(tmp_path / f"{name}.png")
        assert (mask.dtype, mask.tolist()) == (np.uint8, expected)
    Image.fromarray(values > 0).save(tmp_path / "bits.png")
    assert read_mask(tmp_path / "bits.png").tolist() == [[0, 255, 255]]
    assert read_image(tmp_path / "grey.png").shape == (1, 3, 3)


def test_the_sheet_shows_every_picture_enlarged_and_unblurred() -> None:
    red, blue = np.zeros((2, 64, 64, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    sheet = np.asarray(side_by_side([("a", [red, blue]), ("b", [blue, red])], [0, 5]))
    for color in ((255, 0, 0), (0, 0, 255)):
        assert (sheet == color).all(axis=-1).sum() == 2 * 256 * 256


def test_sizes_in_words() -> None:
    assert [size_text(n) for n in (0, 999, 1500, 2_000_000, 3.2e9)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.0 MB",
        "3.2 GB",
    ]
