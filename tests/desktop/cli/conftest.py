"""The command line run as users run it, on a small clip, with a tiny model of random weights."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mattebox_desktop.cli import main
from mattebox_desktop.cli.processes import stop_backend
from mattebox_media.writer import write_clip
from PIL import Image

SIZE, FRAMES = 64, 4
MODEL_MAKER = Path(__file__).parents[2] / "backend" / "conftest.py"
FLORENCES = MODEL_MAKER.with_name("tiny_florence.py")
EDIT = """
source = "clip.mkv"
range = [1, 3]
prompt = "a red circle"
source_prompt = "a blue circle"
backbone = "{model}"

[[region]]
name = "left"
prompt = "a red circle"
mask = "masks/%04d.png"

[params]
steps = 1
"""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def _model_maker(source: Path = MODEL_MAKER) -> Any:
    spec = importlib.util.spec_from_file_location(f"mattebox_maker_{source.stem}", source)
    assert spec is not None
    assert spec.loader is not None
    maker: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    return maker


@pytest.fixture(scope="session")
def model_maker() -> Any:
    """What makes the backend tests' tiny models."""
    return _model_maker()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The backend tests' own tiny model, made by their code."""
    return _model_maker().build_tiny_model(tmp_path_factory.mktemp("models") / "tiny-sd")


@pytest.fixture(scope="session")
def controlnet(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ControlNet for the tiny model, made by the backend tests' own code."""
    return _model_maker().build_tiny_controlnet(model, tmp_path_factory.mktemp("models") / "tiny-net")


@pytest.fixture(scope="session")
def florences() -> Any:
    """What makes the backend tests' tiny captioner, and the pictures that it knows."""
    return _model_maker(FLORENCES)


@pytest.fixture(scope="session")
def captioner(florences: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Florence-2 that tells red from blue."""
    made: Path = florences.build_tiny_captioner(tmp_path_factory.mktemp("models") / "tiny-florence")
    return made


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One home, and so one backend, for the tests of this folder; the backend ends with them."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATTEBOX_HOME", str(home))
        patch.setenv("HF_HUB_CACHE", str(home / "hub"))  # what this machine has of the hub is not asked for
        # The tiny model gains nothing from threads that wait for each other on a busy machine.
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("OMP_WAIT_POLICY", "passive")
        yield home
        stop_backend()


@pytest.fixture
def mattebox(home: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs `mattebox ARGUMENTS…` in this process."""

    def run(*arguments: str | Path) -> Outcome:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(int(left.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def command() -> list[str]:
    """`mattebox`, for tests that need it as a process of its own. Ctrl-C reaches it even where the tests were
    started in the background: a shell makes such processes, and their children, ignore it.
    """
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    return [sys.executable, "-c", f"{listening}; from mattebox_desktop.cli import main; main()"]


def pictures() -> np.ndarray:
    """(FRAMES, SIZE, SIZE, 3): a gradient, other in each frame."""
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.stack(
        [np.stack([x * 3, y * 3, np.full_like(x, 40 * i)], axis=-1) for i in range(FRAMES)]
    ).astype(np.uint8)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with a clip, a region's masks, and (from `edit_file`) an edit file."""
    write_clip(tmp_path / "clip.mkv", iter(pictures()), fps=Fraction(10))
    (tmp_path / "masks").mkdir()
    for frame in range(FRAMES):
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[16:48, 8 + frame : 40 + frame] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{frame:04d}.png")
    return tmp_path


@pytest.fixture
def edit_file(work: Path) -> Callable[..., Path]:
    """Writes the edit file, with words replaced: edit_file(("steps = 1", "steps = 2"), …)."""

    def write(*changes: tuple[str, str], model: str = "pocket-sd") -> Path:
        text = EDIT.format(model=model)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = work / "edit.toml"
        path.write_text(text)
        return path

    return write
