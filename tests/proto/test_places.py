"""Addresses, folders and the running backend's card."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mattebox_proto.channel import Address, Reach
from mattebox_proto.discovery import BackendCard, process_lives, read_card, remove_card, write_card
from mattebox_proto.errors import InvalidRequest
from mattebox_proto.paths import folders, listen_address, private_folder
from mattebox_proto.version import mismatch

CARD = BackendCard("127.0.0.1:5000", "secret", os.getpid(), "0.1.0", 1, 12.5, "cpu")


@pytest.mark.parametrize(
    ("text", "target", "reach"),
    [
        ("unix:///run/b.sock", "unix:/run/b.sock", Reach.UNIX),
        ("unix:/run/b.sock", "unix:/run/b.sock", Reach.UNIX),
        ("127.0.0.1:80", "127.0.0.1:80", Reach.LOOPBACK),
        ("localhost:80", "localhost:80", Reach.LOOPBACK),
        ("[::1]:80", "[::1]:80", Reach.LOOPBACK),
        ("render.example.com:443", "render.example.com:443", Reach.REMOTE),
        ("10.0.0.7:443", "10.0.0.7:443", Reach.REMOTE),
        ("0.0.0.0:443", "0.0.0.0:443", Reach.REMOTE),
        ("localhost.example.com:443", "localhost.example.com:443", Reach.REMOTE),
    ],
)
def test_an_address_says_whether_it_leaves_this_machine(text: str, target: str, reach: Reach) -> None:
    assert Address.parse(text) == Address(target, reach, text)


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":80", "host:0", "host:70000", "host:x", "unix:b.sock", "::1:80"]
)
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(InvalidRequest, match="backend address"):
        Address.parse(text)


def test_one_variable_moves_every_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MATTEBOX_HOME", str(tmp_path))
    here = folders()
    for folder in (here.config, here.cache, here.data, here.run, here.log):
        assert folder.parent == tmp_path
    assert here.backend_file.parent == here.run


def test_without_it_the_platform_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MATTEBOX_HOME", raising=False)
    assert all(
        "mattebox" in str(p) for p in (folders().config, folders().cache, folders().data, folders().log)
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no Unix sockets")
def test_a_run_folder_too_deep_for_a_socket_name_falls_back_to_loopback() -> None:
    assert listen_address(Path("/run/u")) == "unix:///run/u/backend.sock"
    assert listen_address(Path("/run") / ("deep/" * 30)) == "127.0.0.1:0"


def test_a_card_is_read_back_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = private_folder(tmp_path / "run") / "backend.json"
    write_card(path, CARD)
    assert read_card(path) == CARD
    assert list(path.parent.iterdir()) == [path]
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o077 == 0
        assert path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"address": "x"}', '{"pid": "many"}'])
def test_a_card_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "backend.json"
    path.write_text(text)
    assert read_card(path) is None


def test_a_backend_removes_its_own_card_only(tmp_path: Path) -> None:
    path = tmp_path / "backend.json"
    write_card(path, CARD)
    remove_card(path, CARD.pid + 1)
    assert path.exists()
    remove_card(path, CARD.pid)
    assert not path.exists()


def test_a_dead_process_and_a_zombie_do_not_live() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process_lives(process.pid)
    assert process.stdin is not None
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet reaped: a zombie
    assert not process_lives(process.pid)
    process.wait()
    assert not process_lives(process.pid)
    assert not process_lives(0)
    assert not process_lives(-1)


def test_a_mismatch_says_who_is_older() -> None:
    assert mismatch("1.0", 1, "1.4", 1) == ""
    assert "the backend is older" in mismatch("2.0", 2, "1.0", 1)
    assert "this Mattebox is older" in mismatch("1.0", 1, "2.0", 2)
