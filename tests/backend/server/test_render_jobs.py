"""The real renderer behind the real server, as a process, on a tiny model with random weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from mattebox_media.writer import write_clip
from mattebox_proto.client import Client, Endpoint
from mattebox_proto.codecs.masks import encode_track
from mattebox_proto.codecs.params import encode_params
from mattebox_proto.discovery import read_card
from mattebox_proto.errors import InvalidRequest
from mattebox_proto.mattebox.v1 import clips_pb2, edit_pb2, jobs_pb2
from mattebox_proto.paths import Folders

FRAMES, SIDE = 2, 64

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9")


def serve(home: Folders, eventually: Callable[..., None]) -> tuple[subprocess.Popen[bytes], Client]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mattebox_backend", "serve", "--device", "cpu"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ready() -> bool:
        card = read_card(home.backend_file)
        return card is not None and card.pid == process.pid

    eventually(ready)
    card = read_card(home.backend_file)
    assert card is not None
    return process, Client.connect(Endpoint(card.address, card.token))


def edit_of(clip: clips_pb2.Clip, model: Path, prompt: str = "a blue circle") -> edit_pb2.Edit:
    masks = np.zeros((FRAMES, SIDE, SIDE), np.uint8)
    masks[:, 16:48, 8:40] = 255
    return edit_pb2.Edit(
        clip=clip.id,
        stop=FRAMES,
        prompt=f"{prompt} on gray background",
        source_prompt="a red square on gray background",
        method="st-modulator",
        backbone=str(model),
        seed=3,
        regions=[edit_pb2.Region(name="it", prompt=prompt, masks=encode_track(masks), feather=2)],
        params=encode_params({"steps": 25}),
    )


def bits(client: Client, job: jobs_pb2.Job) -> bytes:
    return b"".join(frame.tobytes() for _index, frame in client.read_take(job.take))


def test_a_killed_render_resumes_to_the_bits_of_an_uninterrupted_one(
    home: Folders, tmp_path: Path, tiny_model: Path, eventually: Callable[..., None]
) -> None:
    source = np.random.default_rng(2).integers(0, 256, (FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
    write_clip(tmp_path / "clip.mkv", source, fps=Fraction(8))
    process, client = serve(home, eventually)
    try:
        with client:
            clip = client.open_clip(tmp_path / "clip.mkv")
            unknown = edit_of(clip, tiny_model)
            unknown.params["stepps"].integer = 3
            with pytest.raises(InvalidRequest, match="stepps"):
                client.submit(unknown)
            job = client.submit(edit_of(clip, tiny_model))

            def halfway() -> bool:
                at = client.job(job.id)
                assert at.state in (jobs_pb2.JOB_STATE_QUEUED, jobs_pb2.JOB_STATE_RUNNING), at.error
                return at.progress.stage == jobs_pb2.STAGE_SAMPLE and at.progress.step >= 12

            eventually(halfway, timeout=500)
            process.kill()
            process.wait()
        process, client = serve(home, eventually)
        with client:
            for _event in client.watch(job.id):
                pass
            resumed = client.job(job.id)
            assert (resumed.state, resumed.resumes) == (jobs_pb2.JOB_STATE_DONE, 1), resumed.error
            report = json.loads(client.take(resumed.take).report_json)
            assert report["background_exact_share"] == 1.0
            assert report["take"] == resumed.take
            assert {"seconds", "peak_memory_mb", "inversion_cached", "background_psnr"} <= report.keys()

            client.clear_cache()
            again = client.submit(edit_of(clip, tiny_model))
            watched = list(client.watch(again.id, previews=True))
            uninterrupted = client.job(again.id)
            assert uninterrupted.state == jobs_pb2.JOB_STATE_DONE, uninterrupted.error
            assert any(event.WhichOneof("event") == "preview" for event in watched)
            assert not json.loads(client.take(uninterrupted.take).report_json)["inversion_cached"]
            assert bits(client, resumed) == bits(client, uninterrupted)

            other = client.submit(edit_of(clip, tiny_model, "a green circle"))
            for _event in client.watch(other.id):
                pass
            assert json.loads(client.take(client.job(other.id).take).report_json)["inversion_cached"]
            info = client.info()
            assert (info.device, info.dtype) == ("cpu", "float32")
            assert 0 < info.memory_free_bytes < info.memory_bytes
            client.shutdown()
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()
