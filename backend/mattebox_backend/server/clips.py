"""The Clips service: sources on this disk, or sent here."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import grpc
from mattebox_media.errors import MediaError
from mattebox_media.reader import open_clip
from mattebox_proto.codecs.frames import chunks
from mattebox_proto.mattebox.v1 import clips_pb2, clips_pb2_grpc, media_pb2

from mattebox_backend.errors import BadMedia, InvalidEdit, TooLarge
from mattebox_backend.jobs.caches import PART, Caches
from mattebox_backend.jobs.clips import Clips
from mattebox_backend.server.wire import clip_message

_ENDING = re.compile(r"\.[a-z0-9]{1,8}")


class ClipsServicer(clips_pb2_grpc.ClipsServicer):
    """uploads: the folder for what is sent here. upload_limit: bytes of one clip."""

    def __init__(self, clips: Clips, *, caches: Caches, uploads: Path, upload_limit: int) -> None:
        self._clips = clips
        self._caches = caches
        self._uploads = uploads
        self._upload_limit = upload_limit

    def Open(self, request: clips_pb2.OpenClipRequest, context: grpc.ServicerContext) -> clips_pb2.Clip:
        return clip_message(self._clips.open(Path(request.path)))

    def Upload(
        self, request_iterator: Iterator[clips_pb2.UploadClipRequest], context: grpc.ServicerContext
    ) -> clips_pb2.Clip:
        first = next(request_iterator, None)
        if first is None:
            raise InvalidEdit("The upload is empty; send the file's name and size first.")
        if first.size > self._upload_limit:
            raise TooLarge(
                f"The clip {first.name} has {first.size >> 20} MiB, and the limit is "
                f"{self._upload_limit >> 20} MiB; cut it first (or raise upload_limit in backend.toml)."
            )
        self._uploads.mkdir(parents=True, exist_ok=True)
        # A folder of its own: the file keeps its ending, by which readers know it, and goes as a whole.
        with tempfile.TemporaryDirectory(dir=self._uploads, prefix=PART) as folder:
            part = Path(folder) / f"clip{_ending(first.name)}"
            clip_id = _receive(first, request_iterator, part)
            try:
                with open_clip(part) as reader:  # what is no clip never gets a name
                    reader.frame(0)
            except MediaError as error:
                raise BadMedia(str(error).replace(str(part), first.name)) from error
            final = self._uploads / clip_id / part.name
            final.parent.mkdir(exist_ok=True)
            part.replace(final)
        with self._caches.reading_since(time.time() - 60):  # what has just arrived is not what goes
            clip = self._clips.open(final)
            self._caches.trim()
        return clip_message(clip)

    def ReadFrames(
        self, request: clips_pb2.ReadFramesRequest, context: grpc.ServicerContext
    ) -> Iterator[media_pb2.FrameChunk]:
        clip = self._clips.find(request.clip)
        with open_clip(clip.path) as reader:
            numbered = enumerate(reader.frames(request.start, request.stop), start=request.start)
            for chunk in chunks(numbered):
                if not context.is_active():
                    return
                yield chunk


def _receive(
    first: clips_pb2.UploadClipRequest, rest: Iterator[clips_pb2.UploadClipRequest], part: Path
) -> str:
    """Writes the file to the disk; returns its SHA-256 (hex)."""
    digest = hashlib.sha256()
    received = 0
    with part.open("wb") as file:
        for message in chain([first], rest):
            received += len(message.data)
            if received > first.size:
                break
            digest.update(message.data)
            file.write(message.data)
        file.flush()
        os.fsync(file.fileno())
    if received != first.size:
        raise InvalidEdit(
            f"The upload of {first.name} has {received} bytes where {first.size} were announced; send it "
            "again."
        )
    return digest.hexdigest()


def _ending(name: str) -> str:
    """The name's ending, when it is one that a file of ours may bear."""
    ending = Path(name).suffix.lower()
    return ending if _ENDING.fullmatch(ending) else ""
