"""Whole edits through a real backend, in one home shared by these tests."""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from mattebox_media import open_clip
from mattebox_proto.local import connect, find
from mattebox_proto.mattebox.v1 import jobs_pb2
from PIL import Image

Run = Callable[..., Any]


def frames(path: Path) -> np.ndarray:
    with open_clip(path) as clip:
        return np.stack(list(clip.frames(0, clip.info.frame_count)))


@pytest.fixture
def rendered(mattebox: Run, work: Path, edit_file: Run, model: Path) -> Any:
    """An edit rendered losslessly, with its report."""
    path = edit_file(model=str(model))
    return mattebox("edit", path, "-o", work / "out.mkv", "--json", work / "report.json")


def test_an_edit_changes_its_region_and_nothing_else(rendered: Any, mattebox: Run, work: Path) -> None:
    assert (rendered.code, rendered.err) == (0, "")
    source, result = frames(work / "clip.mkv")[1:3], frames(work / "out.mkv")
    changed = (source != result).any(axis=-1)
    for index, frame in enumerate((1, 2)):
        inside = np.zeros((64, 64), bool)
        inside[16:48, 8 + frame : 40 + frame] = True
        assert not (changed[index] & ~inside).any()
        assert changed[index].any()

    report = json.loads((work / "report.json").read_text())
    assert {"method", "backbone", "seed", "seconds", "peak_memory_mb", "inversion_cached"} <= report.keys()
    assert (report["frames"], report["width"], report["height"]) == (2, 64, 64)
    assert report["background_exact_share"] == 1.0
    assert report["background_psnr"] is None
    assert report["take"] in rendered.out

    # The take can be listed, written again in another format, and deleted; its job is listed too.
    take = report["take"]
    assert take in mattebox("takes").out
    assert re.search(rf"done .* take {take}", mattebox("jobs").out)
    exported = mattebox("takes", "export", take, "-o", work / "again_%04d.png")
    assert exported.code == 0
    assert np.array_equal(frames(work / "again_%04d.png"), result)
    spared = mattebox("takes", "export", take, "-o", work / "clip.mkv")
    assert (spared.code, "clip.mkv is the clip of this take" in spared.err) == (2, True)
    assert mattebox("takes", "delete", take).code == 0
    assert np.array_equal(frames(work / "clip.mkv")[1:3], source)
    gone = mattebox("takes", "export", take, "-o", work / "again.mp4")
    assert (gone.code, gone.err.count("\n")) == (2, 1)
    assert take in gone.err


def test_an_inspected_take_is_drawn_word_by_word(
    mattebox: Run, work: Path, edit_file: Run, model: Path
) -> None:
    path = edit_file(("steps = 1", "steps = 3\nguidance = 2.0"), model=str(model))
    plain = mattebox("edit", path, "-o", work / "plain.mkv", "--json", work / "plain.json")
    looked_at = mattebox("edit", path, "-o", work / "out.mkv", "--json", work / "report.json", "--inspect")
    assert (plain.code, looked_at.code) == (0, 0)
    assert np.array_equal(frames(work / "plain.mkv"), frames(work / "out.mkv"))

    take = json.loads((work / "report.json").read_text())["take"]
    drawn = mattebox("inspect", take, "-o", work / "drawn")
    assert (drawn.code, drawn.err) == (0, "")
    assert "3 words and 1 maps of controls, the source's clusters" in drawn.out
    assert sorted(sheet.name for sheet in (work / "drawn").iterdir()) == [
        "clusters.png",
        "control-guidance-away-from-unconditional.png",
        "word-00-a-of-left.png",
        "word-01-red-of-left.png",
        "word-02-circle-of-left.png",
    ]
    for drawn_name in ("word-01-red-of-left.png", "clusters.png"):
        with Image.open(work / "drawn" / drawn_name) as sheet:
            assert np.asarray(sheet.convert("RGB")).std() > 5, "a sheet without a picture"

    take = json.loads((work / "plain.json").read_text())["take"]
    refused = mattebox("inspect", take, "-o", work / "nothing")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "render its edit again with inspect = true" in refused.err
    assert not (work / "nothing").exists()
    (work / "file").write_text("x")
    assert mattebox("inspect", take, "-o", work / "file").code == 2


def test_an_edit_is_rendered_under_edges_and_under_given_pictures(
    mattebox: Run, work: Path, edit_file: Run, model: Path, controlnet: Path
) -> None:
    def render(*changes: tuple[str, str]) -> np.ndarray:
        path = edit_file(*changes, model=str(model))
        outcome = mattebox("edit", path, "-o", work / "out.mkv")
        assert (outcome.code, outcome.err) == (0, "")
        return frames(work / "out.mkv")

    (work / "depth").mkdir()
    for frame in range(4):
        depth = np.linspace(0, 65535, 64 * 64).reshape(64, 64) * (frame + 1) / 4
        Image.fromarray(depth.astype(np.uint16)).save(work / "depth" / f"{frame:04d}.png")
    steps = "steps = 3\nguidance = 1.0"
    asked = ("steps = 1", f'{steps}\ncontrolnet = "{controlnet}"\ncondition = "edges"')
    given = ("steps = 1", asked[1].replace("edges", "pictures"))
    pictures = ("range", 'condition_pictures = "depth/%04d.png"\nrange')
    made = [render(("steps = 1", steps)), render(asked), render(given, pictures)]
    assert not np.array_equal(made[0], made[1])
    assert not np.array_equal(made[1], made[2])

    for changes, said in (
        ((given,), "give condition_pictures"),
        ((asked, pictures), "set it to 'pictures'"),
        ((asked, ("range", 'condition_pictures = "depth/%d.png"\nrange')), "frame 1 is missing"),
    ):
        refused = mattebox("edit", edit_file(*changes, model=str(model)), "-o", work / "no.mkv")
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert said in refused.err


def test_regions_are_found_and_feed_an_edit(mattebox: Run, work: Path, model: Path) -> None:
    look = ["regions", work / "clip.mkv", "-k", "3", "--prompt", "a red circle", "--backbone", model]
    found = mattebox(*look, "--range", "1", "3", "-o", work / "found")
    assert (found.code, found.err) == (0, "")
    assert "3 regions of frames 1 to 2" in found.out
    masks = np.stack(
        [
            [np.asarray(Image.open(work / "found" / f"region-{n}" / f"{frame:04d}.png")) for frame in (1, 2)]
            for n in (1, 2, 3)
        ]
    )
    assert masks.shape == (3, 2, 64, 64)
    assert ((masks > 0).sum(axis=0) == 1).all()
    sizes = (masks > 0).sum(axis=(1, 2, 3)).tolist()
    assert sizes == sorted(sizes, reverse=True)
    with Image.open(work / "found" / "overview.png") as sheet:
        assert np.asarray(sheet.convert("RGB")).std() > 5, "a sheet without a picture"

    edit = work / "found" / "edit.toml"
    edit.write_text(edit.read_text() + "\n[params]\nsteps = 2\n")
    rendered = mattebox("edit", edit, "-o", work / "out.mkv", "--json", work / "report.json")
    assert (rendered.code, rendered.err) == (0, "")
    assert len(frames(work / "out.mkv")) == 2

    for arguments, said in (
        (["-o", work / "found"], "is there already; name a new folder"),
        (["-o", work / "new", "--range", "3", "9"], "--range 3 9 is not within"),
        (["-o", work / "new", "-k", "99"], "ask for 2 to 32"),
        (["-o", work / "new", "--backbone", "nothing"], "nothing"),
    ):
        refused = mattebox(*look, *arguments)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert said in refused.err
    assert not (work / "new").exists()


def test_what_a_render_warns_of_is_said(mattebox: Run, work: Path, edit_file: Run, model: Path) -> None:
    covered = (
        "[params]",
        '[[region]]\nname = "top"\nprompt = "a red circle"\nbox = [0, 0, 64, 64]\norder = 1\n[params]',
    )
    outcome = mattebox("edit", edit_file(covered, model=str(model)), "-o", work / "out.mkv")
    assert outcome.code == 0
    assert outcome.err == (
        "mattebox: warning: The region 'left' lies wholly under others and had no effect.\n"
    )


def test_the_cache_is_shown_and_cleared(rendered: Any, mattebox: Run) -> None:
    assert re.search(r"inversions +[\d.]+ [kM]?B +[1-9]", mattebox("cache").out)
    assert mattebox("cache", "clear", "inversion").err.startswith(
        "mattebox: The cache has no kind 'inversion'; it has "
    )
    assert mattebox("cache", "clear", "inversions").out.startswith("Cleared ")
    assert re.search(r"inversions +0 B +0", mattebox("cache").out)


def test_sound_is_carried_over_from_where_the_range_starts(
    mattebox: Run, work: Path, edit_file: Run, model: Path
) -> None:
    add_sound(work / "clip.mkv", work / "loud.mkv")
    path = edit_file(("clip.mkv", "loud.mkv"), model=str(model))
    assert mattebox("edit", path, "-o", work / "out.mp4").code == 0
    with av.open(work / "out.mp4") as made:
        heard = np.concatenate([frame.to_ndarray().ravel() for frame in made.decode(audio=0)])
    # Silent for the first 0.1 s of the source, loud from then on: frame 1 begins where it is loud.
    assert np.abs(heard).max() > 0.2
    assert len(heard) / 48000 == pytest.approx(0.2, abs=0.05)


def add_sound(silent: Path, loud: Path) -> None:
    with av.open(silent) as video, av.open(loud, "w") as out:
        pictures = out.add_stream_from_template(video.streams.video[0])
        sound = out.add_stream("pcm_s16le", rate=48000, layout="mono")
        for packet in video.demux(video=0):
            if packet.dts is not None:
                packet.stream = pictures
                out.mux(packet)
        tone = (np.sin(np.arange(19200) * 0.1) * 20000).astype(np.int16)
        tone[:4800] = 0
        frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        out.mux([*sound.encode(frame), *sound.encode()])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps = 1", "stepz = 1", "stepz"),
        ("steps = 1", "steps = 0", "steps"),
        ("backbone", 'backbone = "no-such-model"  #', "no-such-model"),
        ('prompt = "a red circle"\nsource', f'prompt = "{"red circle and " * 40}"\nsource', "prompt"),
        ("range =", 'method = "mask-lora"\nrange =', "mask-lora"),
    ],
    ids=[
        "unknown parameter",
        "parameter out of bounds",
        "unknown backbone",
        "prompt too long",
        "no reference",
    ],
)
def test_what_only_the_backend_can_know_ends_in_its_sentence(
    mattebox: Run, work: Path, edit_file: Run, model: Path, old: str, new: str, said: str
) -> None:
    (work / "out.mkv").write_bytes(b"an earlier result")
    outcome = mattebox("edit", edit_file((old, new), model=str(model)), "-o", work / "out.mkv")
    assert outcome.code == 2
    [line] = outcome.err.strip().splitlines()
    assert line.startswith("mattebox: ")
    assert said in line
    assert (work / "out.mkv").read_bytes() == b"an earlier result"


def test_a_full_disk_leaves_the_earlier_result_standing(
    command: list[str], mattebox: Run, work: Path, edit_file: Run, model: Path, home: Path
) -> None:
    path = edit_file(model=str(model))
    (work / "out.mkv").write_bytes(b"an earlier result")

    def small_disk() -> None:  # for the command alone: the backend runs already
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    with connect():
        done = subprocess.run(
            [*command, "edit", path, "-o", "out.mkv"],
            capture_output=True,
            text=True,
            cwd=work,
            preexec_fn=small_disk,
        )
    assert done.returncode == 1, done.stderr
    [line] = done.stderr.strip().splitlines()
    assert "out.mkv" in line
    # What was rendered is not lost: the sentence ends with the command that writes it.
    take = re.search(r"`mattebox (takes export \S+ -o) FILE` writes it\.$", line)
    assert take is not None, line
    assert mattebox(*take[1].split(), work / "later.mkv").code == 0
    assert "Traceback" not in done.stderr
    assert (work / "out.mkv").read_bytes() == b"an earlier result"
    assert not list(work.glob("*.part")) + list(work.glob(".*part"))


def test_ctrl_c_cancels_the_job_and_writes_nothing(
    command: list[str], work: Path, edit_file: Run, model: Path, home: Path
) -> None:
    path = edit_file(("steps = 1", "steps = 1000"), model=str(model))
    with connect() as client:
        began = {job.id for job in client.jobs()}
        process = subprocess.Popen(
            [*command, "edit", path, "-o", "out.mkv"], stderr=subprocess.PIPE, text=True, cwd=work
        )
        job = None
        while job is None or client.job(job.id).state != jobs_pb2.JOB_STATE_RUNNING:
            assert process.poll() is None, process.communicate()[1]
            job = next((job for job in client.jobs() if job.id not in began), None)
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 130
        assert f"job {job.id} is cancelled and nothing was written" in errors
        assert client.job(job.id).state == jobs_pb2.JOB_STATE_CANCELLED
    assert not (work / "out.mkv").exists()


def test_a_named_backend_is_used_with_its_token(
    mattebox: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect() as client:
        address = client.address.text
    card = find()
    assert card is not None
    assert mattebox("jobs", "--backend", address).code == 0
    monkeypatch.setenv("MATTEBOX_HOME", str(home / "elsewhere"))  # where no card gives the token away
    refused = mattebox("jobs", "--backend", address)
    assert (refused.code, refused.out) == (1, "")
    assert "token" in refused.err
    monkeypatch.setenv("MATTEBOX_TOKEN", card.token)
    assert mattebox("jobs", "--backend", address).code == 0


def test_the_backend_is_stopped_on_demand(mattebox: Run, home: Path) -> None:
    with connect():
        pass
    assert mattebox("serve", "--stop").out == "The backend has ended.\n"
    assert find() is None
    assert mattebox("serve", "--stop").out == "No backend is running.\n"


def test_serve_and_bench_are_the_backends_own(command: list[str], home: Path) -> None:
    done = subprocess.run([*command, "serve", "--help"], capture_output=True, text=True)
    assert "--idle-exit" in done.stdout
    assert "`mattebox serve --stop` ends" in done.stdout
    wrong = subprocess.run([*command, "bench", "nonsense"], capture_output=True, text=True)
    assert wrong.returncode == 2
