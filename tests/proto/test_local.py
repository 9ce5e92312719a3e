"""The launcher, with a stand-in for the backend's package: a process that serves, dies or hangs as told."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mattebox_proto import local
from mattebox_proto.discovery import BackendCard, process_lives, read_card, write_card
from mattebox_proto.errors import BackendGone, BackendNotStarted, InvalidRequest
from mattebox_proto.paths import folders

STAND_IN = """
import os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from mattebox_proto import CONTRACT
from mattebox_proto.discovery import BackendCard, remove_card, write_card
from mattebox_proto.mattebox.v1 import system_pb2, system_pb2_grpc
from mattebox_proto.paths import folders, listen_address

here = folders()
with open(here.run / "starts", "a") as starts:
    print(*sys.argv[1:], file=starts)
mode = os.environ["STAND_IN"]
if mode == "die":
    print("loading"); sys.exit("The GPU driver is too old; update it")
if mode == "refuse":
    print("The device 'mps' is not here."); sys.exit(2)
if mode == "hang":
    time.sleep(20); sys.exit()
time.sleep(float(mode))
done = threading.Event()
class System(system_pb2_grpc.SystemServicer):
    def Handshake(self, request, context):
        return system_pb2.HandshakeResponse(backend_version="0", contract=CONTRACT, compatible=True)
    def GetInfo(self, request, context):
        return system_pb2.Info(device="cuda:1")
    def Shutdown(self, request, context):
        done.set()
        return system_pb2.ShutdownResponse()
server = grpc.server(ThreadPoolExecutor(4))
system_pb2_grpc.add_SystemServicer_to_server(System(), server)
servicer = health.HealthServicer()
servicer.set("", health_pb2.HealthCheckResponse.SERVING)
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
address = listen_address(here.run)
port = server.add_insecure_port(address)
server.start()
if not address.startswith("unix"):
    address = f"127.0.0.1:{port}"
write_card(here.backend_file, BackendCard(address, "token", os.getpid(), "0", CONTRACT, time.time(), "auto"))
done.wait(20)
server.stop(0).wait()
remove_card(here.backend_file, os.getpid())
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    package = tmp_path / "stand-in" / "mattebox_backend"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("MATTEBOX_HOME", str(tmp_path / "h"))
    monkeypatch.setenv("STAND_IN", "0")
    yield tmp_path
    card = read_card(folders().backend_file)
    if card is not None and process_lives(card.pid) and card.pid != os.getpid():
        os.kill(card.pid, signal.SIGTERM)
        wait_for_end(card.pid)


def wait_for_end(pid: int) -> None:
    give_up = time.monotonic() + 10
    while process_lives(pid):
        assert time.monotonic() < give_up, f"process {pid} lives on"
        time.sleep(0.02)


def starts() -> list[str]:
    return (folders().run / "starts").read_text().splitlines()


def test_a_backend_is_started_once_and_then_shared(home: Path) -> None:
    assert local.find() is None
    waits: list[float] = []
    with local.connect(idle_exit=33, device="cuda", waiting=waits.append) as first, local.connect() as second:
        assert first.address == second.address
        card = local.find()
        assert card is not None
        assert card.pid != os.getpid()
    assert starts() == ["serve --idle-exit 33 --device cuda"]
    assert waits == sorted(waits)
    assert waits


def test_four_starters_at_once_share_one_backend(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "0.4")
    code = "from mattebox_proto.local import ensure; print(ensure().pid)"
    starters = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)]
    pids = {starter.communicate(timeout=30)[0] for starter in starters}
    assert len(pids) == 1
    assert len(starts()) == 1


def test_the_backend_outlives_the_process_that_started_it_and_its_terminal(home: Path) -> None:
    code = "from mattebox_proto.local import ensure; print(ensure().pid)"
    starter = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    pid = int(starter.stdout)
    assert process_lives(pid)
    assert os.getsid(pid) != os.getsid(0)


def test_a_backend_that_dies_at_its_start_gives_its_reason_and_its_log(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "die")
    with pytest.raises(
        BackendNotStarted, match=r"ended at its start .*: The GPU driver is too old"
    ) as caught:
        local.connect()
    assert caught.value.log_tail.splitlines() == ["loading", "The GPU driver is too old; update it"]
    assert str(folders().backend_log) in str(caught.value)
    with pytest.raises(BackendNotStarted) as again:  # the log's tail is this start's, not the last one's too
        local.connect()
    assert again.value.log_tail == caught.value.log_tail


def test_a_backend_that_never_answers_is_given_up_and_ended(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "hang")
    began = time.monotonic()
    with pytest.raises(BackendNotStarted, match=r"did not answer within 0\.5 s"):
        local.ensure(timeout=0.5)
    assert time.monotonic() - began < 10
    children = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True
    )
    assert "mattebox_backend" not in children.stdout


def test_whoever_waits_for_another_starter_may_give_up(home: Path) -> None:
    code = (
        "import time; from mattebox_proto import local; from mattebox_proto.paths import folders\n"
        "with local._start_lock(folders(), 5, None): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()

        def closed(_seconds: float) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            local.connect(waiting=closed)
        other.kill()
    assert not (folders().run / "starts").exists()


def test_whoever_waits_may_give_up_and_no_backend_is_left_behind(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "hang")

    def closed(_seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.connect(waiting=closed)
    children = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True
    )
    assert "mattebox_backend" not in children.stdout


@pytest.mark.parametrize("pid", [2**22 + 1, os.getpid()], ids=["dead", "another program's"])
def test_a_stale_card_is_seen_through_and_replaced(home: Path, pid: int) -> None:
    write_card(folders().backend_file, BackendCard(f"unix:{home}/gone.sock", "old", pid, "0", 1, 0.0))
    assert local.find() is None
    card = local.ensure()
    assert card.token == "token"
    assert local.find() == card


def test_a_killed_backend_is_started_again(home: Path) -> None:
    first = local.ensure()
    os.kill(first.pid, signal.SIGKILL)
    wait_for_end(first.pid)
    assert local.find() is None
    second = local.ensure()
    assert second.pid != first.pid
    with local.connect() as client:
        client.handshake()


def test_a_client_finds_the_backend_that_replaced_its_own(home: Path) -> None:
    with local.connect() as client:
        client.shutdown()
        card = read_card(folders().backend_file)
        if card is not None:
            wait_for_end(card.pid)
        with pytest.raises(BackendGone):
            client.handshake()
        client.reconnect()
        client.handshake()
    assert len(starts()) == 2


def test_another_device_than_the_running_backends_is_refused(home: Path) -> None:
    for fitting in ("", "auto", "cuda", "cuda:1"):
        local.connect(device=fitting).close()
    for other in ("cpu", "cuda:10"):
        with pytest.raises(InvalidRequest, match=f"uses the device cuda:1, not {other}"):
            local.connect(device=other)
    assert len(starts()) == 1


def test_a_backend_that_refuses_what_it_is_asked_for_says_so_without_a_log(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "refuse")
    with pytest.raises(InvalidRequest, match=r"^The device 'mps' is not here\.$"):
        local.connect(device="mps")


def stands_still(pid: int) -> bool:
    threads = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in threads)


def test_the_card_of_a_backend_that_is_alive_but_slow_is_left_in_place(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = local.ensure()
    os.kill(card.pid, signal.SIGSTOP)
    while not stands_still(card.pid):  # the signal reaches its threads one by one
        time.sleep(0.01)
    try:
        monkeypatch.setenv("STAND_IN", "die")
        with pytest.raises(BackendNotStarted):
            local.ensure()
        assert read_card(folders().backend_file) == card
    finally:
        os.kill(card.pid, signal.SIGCONT)
    assert local.find() == card


def test_without_the_backends_packages_the_remedy_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendNotStarted, match=r"mattebox\[backend\]"):
        local.ensure()


def test_a_path_too_long_for_a_socket_still_gets_a_backend(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATTEBOX_HOME", str(home / ("deep" * 20)))
    with contextlib.closing(local.connect()) as client:
        assert client.address.text.startswith("127.0.0.1:")
        client.handshake()
