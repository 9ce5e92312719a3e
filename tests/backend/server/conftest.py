"""Real backends on real sockets: in this process, and as processes that can be killed."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from mattebox_backend.server.backend import Backend, Options
from mattebox_backend.settings import Settings, load_settings
from mattebox_media.writer import write_clip
from mattebox_proto.client import Client, Endpoint
from mattebox_proto.codecs.masks import encode_track
from mattebox_proto.codecs.params import Value, encode_params
from mattebox_proto.discovery import BackendCard, read_card
from mattebox_proto.mattebox.v1 import clips_pb2, edit_pb2
from mattebox_proto.paths import Folders, folders
from numpy.typing import NDArray

SCRIPT = Path(__file__).with_name("inverting_backend.py")
HEIGHT, WIDTH, FRAMES = 24, 32, 6

MakeEdit = Callable[..., edit_pb2.Edit]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.setenv("MATTEBOX_HOME", str(tmp_path / "home"))
    return folders()


@pytest.fixture(scope="session")
def inverting() -> ModuleType:
    spec = importlib.util.spec_from_file_location("inverting_backend", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["inverting_backend"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory: pytest.TempPathFactory, pixels: NDArray[np.uint8]) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mkv"
    write_clip(path, pixels, fps=Fraction(25))
    return path


@pytest.fixture
def start(home: Folders, inverting: ModuleType) -> Iterator[Callable[..., Backend]]:
    """Starts backends in this process, and stops them after the test."""
    started: list[Backend] = []

    def starter(options: Options = Options(), settings: Settings | None = None) -> Backend:  # noqa: B008
        backend = Backend(home, settings or load_settings(home), options, engine=inverting.InvertingEngine)
        backend.start()
        started.append(backend)
        return backend

    yield starter
    for backend in started:
        if not backend.stopping.is_set():
            backend.stop()


@pytest.fixture
def backend(start: Callable[..., Backend]) -> Backend:
    return start()


@pytest.fixture
def client(backend: Backend) -> Iterator[Client]:
    with Client.connect(Endpoint(backend.addresses[0], backend.token)) as connected:
        yield connected


@pytest.fixture
def clip(client: Client, clip_file: Path) -> clips_pb2.Clip:
    return client.open_clip(clip_file)


@pytest.fixture
def make_edit() -> MakeEdit:
    """An edit of the whole clip with one region, the left half."""

    def make(clip: clips_pb2.Clip, *, stop: int = FRAMES, **params: Value) -> edit_pb2.Edit:
        masks = np.zeros((stop, clip.height, clip.width), np.uint8)
        masks[:, :, : clip.width // 2] = 255
        region = edit_pb2.Region(name="left", prompt="a star", masks=encode_track(masks))
        return edit_pb2.Edit(
            clip=clip.id,
            stop=stop,
            prompt="a star on a wall",
            method="st-modulator",
            backbone="pocket-sd",
            seed=7,
            regions=[region],
            params=encode_params(params),
        )

    return make


class Process:
    """A backend process on the home that MATTEBOX_HOME names."""

    def __init__(self, home: Folders, arguments: tuple[str, ...]) -> None:
        self.home = home
        self.popen = subprocess.Popen(
            [sys.executable, str(SCRIPT), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def card(self, timeout: float = 90.0) -> BackendCard:
        """Waits until the process says where it is."""
        give_up = time.monotonic() + timeout
        while time.monotonic() < give_up:
            card = read_card(self.home.backend_file)
            if card is not None and card.pid == self.popen.pid:
                return card
            if self.popen.poll() is not None:
                raise AssertionError(f"it ended: {self.popen.communicate()[1]}")
            time.sleep(0.02)
        raise AssertionError("no card in time")

    def client(self) -> Client:
        card = self.card()
        return Client.connect(Endpoint(card.address, card.token))

    def kill(self) -> None:
        self.popen.kill()
        self.end()

    def terminate(self) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.end()

    def end(self, timeout: float = 90.0) -> int:
        self.output, self.errors = self.popen.communicate(timeout=timeout)
        return self.popen.returncode


@pytest.fixture
def launch(home: Folders) -> Iterator[Callable[..., Process]]:
    launched: list[Process] = []

    def launcher(*arguments: str) -> Process:
        launched.append(Process(home, arguments))
        return launched[-1]

    yield launcher
    for process in launched:
        if process.popen.poll() is None:
            process.kill()
        with suppress(ValueError):
            process.popen.communicate(timeout=10)


def wait_for(condition: Callable[[], bool], timeout: float = 90.0) -> None:
    give_up = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def eventually() -> Callable[..., None]:
    return wait_for
