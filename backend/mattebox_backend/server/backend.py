"""A whole backend: queue, worker and gRPC server, from the lock on its home to the card in its run folder."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from mattebox_proto.auth import new_token
from mattebox_proto.discovery import BackendCard, process_lives, read_card, remove_card, write_card
from mattebox_proto.mattebox.v1 import (
    captions_pb2,
    captions_pb2_grpc,
    clips_pb2,
    clips_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    masks_pb2,
    masks_pb2_grpc,
    system_pb2,
    system_pb2_grpc,
)
from mattebox_proto.paths import Folders, listen_address
from mattebox_proto.version import CONTRACT, version

from mattebox_backend.edit import Edit
from mattebox_backend.jobs.caches import Caches
from mattebox_backend.jobs.clips import Clips, OpenedClip
from mattebox_backend.jobs.engine import Engine, RenderEngine
from mattebox_backend.jobs.queue import JobQueue
from mattebox_backend.jobs.takes import TakeShelf
from mattebox_backend.jobs.turns import DeviceTurns
from mattebox_backend.jobs.worker import StoredEdit, Worker
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.server.addresses import Certificate, Listen, bind
from mattebox_backend.server.captions import CaptionsServicer
from mattebox_backend.server.clips import ClipsServicer
from mattebox_backend.server.interceptors import Activity, ErrorGate, TokenGate
from mattebox_backend.server.jobs import MOST_WATCHERS, JobsServicer
from mattebox_backend.server.lock import HomeLock
from mattebox_backend.server.masks import MasksServicer
from mattebox_backend.server.system import SystemServicer
from mattebox_backend.server.wire import edit_of, edit_to_json, unpack_edit, without_pixels
from mattebox_backend.settings import Settings, Storage

_log = logging.getLogger(__name__)

_THREADS = MOST_WATCHERS + 16
_LONGEST_STEP = 120.0
"""Seconds that a running step gets to end; the job goes on from its last checkpoint in any case."""

_SERVICES = (
    "",
    health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
    reflection.SERVICE_NAME,
    *(
        file.DESCRIPTOR.services_by_name[name].full_name
        for file, name in (
            (system_pb2, "System"),
            (clips_pb2, "Clips"),
            (masks_pb2, "Masks"),
            (captions_pb2, "Captions"),
            (jobs_pb2, "Jobs"),
        )
    ),
)

EngineMaker = Callable[[ModelRegistry, Settings], Engine]


@dataclass(frozen=True, slots=True)
class Options:
    """listen: None for the platform's local default. device: overrides the settings' when not empty."""

    listen: Listen | None = None
    certificate: Certificate | None = None
    device: str = ""


def render_engine(models: ModelRegistry, settings: Settings) -> Engine:
    """The engine that renders for real."""
    return RenderEngine(models, device=settings.device, threads=settings.threads)


class Backend:
    """`start`, then wait for `stopping`, then `stop`."""

    def __init__(
        self,
        folders: Folders,
        settings: Settings,
        options: Options = Options(),
        *,
        engine: EngineMaker = render_engine,
    ) -> None:
        self._folders = folders
        self._settings = settings.on_device(options.device) if options.device else settings
        self._options = options
        self._storage = Storage(folders)
        self._make_engine = engine
        self._lock = HomeLock(folders.run / "backend.lock")
        self._health = health.HealthServicer(experimental_non_blocking=False)
        self._activity = Activity()
        self.token = new_token()
        self.stopping = threading.Event()

    def start(self) -> BackendCard:
        """Serves, and says so in the run folder.

        Raises MatteboxError subclasses; nothing is left behind then.
        """
        give_up = time.monotonic() + _LONGEST_STEP
        self._lock.acquire(
            worth_waiting=lambda: (
                self._other_is_ending() and time.monotonic() < give_up and not self.stopping.is_set()
            )
        )
        try:
            self._open_parts()
            try:
                addresses = self._listen()
            except BaseException:
                self._queue.close()
                raise
        except BaseException:
            self._lock.release()
            raise
        for name in _SERVICES:
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._worker.start()
        self.addresses: Sequence[str] = addresses
        return self._card

    def _listen(self) -> list[str]:
        """Serves, and says so in the run folder; returns where."""
        if self._settings.device != "auto":
            self._engine.device()  # a backend on a device that is not there would fail every job
        self._server = self._build_server()
        try:
            addresses = [bind(self._server, listen, certificate) for listen, certificate in self._places()]
            self._server.start()
            self._card: BackendCard = self._write_card(addresses[0])
        except BaseException:
            self._server.stop(None)
            raise
        return addresses

    def _write_card(self, address: str) -> BackendCard:
        card = BackendCard(
            address=address,
            token=self.token,
            pid=os.getpid(),
            version=version(),
            contract=CONTRACT,
            started=time.time(),
            device=self._settings.device,
        )
        write_card(self._folders.backend_file, card)
        return card

    def stop(self) -> None:
        """Ends within one step of the running job, which goes on from its checkpoint at the next start."""
        self.stopping.set()
        remove_card(self._folders.backend_file, self._card.pid)
        self._health.enter_graceful_shutdown()
        self._worker.stop()
        self._queue.changes.announce()
        self._worker.join(_LONGEST_STEP)
        self._server.stop(grace=1.0).wait(5.0)
        if not self._worker.is_alive():
            self._queue.close()
        for listen, _certificate in self._places():
            if listen.socket is not None:
                listen.socket.unlink(missing_ok=True)
        self._lock.release()

    def idle_seconds(self) -> float:
        """Since when there has been neither a call nor a job."""
        if self._queue.store.unfinished_count():
            self._last_job = time.monotonic()
        return min(self._activity.idle_seconds(), time.monotonic() - self._last_job)

    def _other_is_ending(self) -> bool:
        """Whether the backend that holds the lock has taken its card away, as it does first when it stops."""
        card = read_card(self._folders.backend_file)
        return card is None or not process_lives(card.pid)

    def _open_parts(self) -> None:
        """The queue with what an earlier backend left, the caches, and the worker (not yet running)."""
        storage, settings = self._storage, self._settings
        self._queue = JobQueue(storage.database, limit=settings.queue_limit)
        self._last_job = time.monotonic()
        self._clips = Clips(self._queue.store, storage.uploads)
        self._takes = TakeShelf(storage.takes)
        self._takes.sweep()
        self._caches = Caches(
            {
                "inversions": storage.inversions,
                "adapters": storage.adapters,
                "uploads": storage.uploads,
                "checkpoints": storage.checkpoints,
            },
            limited=("inversions", "uploads"),
            limit_bytes=settings.cache_limit,
            asked_for=("adapters",),
            pinned=self._queue.store.in_use,
        )
        for job in self._queue.store.forget_old():
            storage.job_log(job).unlink(missing_ok=True)
        for found in self._queue.store.pick_up():
            _log.info("job %s “%s” is picked up again", found.id, found.title)
        self._caches.clear(["checkpoints"])  # of jobs that are no more; the others' are in use
        self._caches.trim()
        self._models = ModelRegistry(settings.model_folders)
        self._engine = self._make_engine(self._models, settings)
        self._turns = DeviceTurns()
        self._worker = Worker(
            self._queue,
            self._engine,
            storage=storage,
            clips=self._clips,
            takes=self._takes,
            caches=self._caches,
            turns=self._turns,
            read_edit=self._read_edit,
        )

    def _read_edit(self, packed: bytes, clip: OpenedClip) -> StoredEdit:
        message = unpack_edit(packed)
        edit: Edit = edit_of(message, clip, mask_limit=self._settings.mask_limit)
        return edit, edit_to_json(without_pixels(message))

    def _build_server(self) -> grpc.Server:
        server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="mattebox-call"),
            interceptors=[TokenGate(self.token), ErrorGate(self._activity, log=self._folders.backend_log)],
            options=[
                ("grpc.max_receive_message_length", int(self._settings.message_limit)),
                ("grpc.max_send_message_length", int(self._settings.message_limit)),
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ],
        )
        system_pb2_grpc.add_SystemServicer_to_server(
            SystemServicer(
                engine=self._engine,
                models=self._models,
                caches=self._caches,
                settings=self._settings,
                storage=self._storage,
                stop=self.stopping.set,
            ),
            server,
        )
        clips_pb2_grpc.add_ClipsServicer_to_server(
            ClipsServicer(
                self._clips,
                caches=self._caches,
                uploads=self._storage.uploads,
                upload_limit=self._settings.upload_limit,
            ),
            server,
        )
        masks_pb2_grpc.add_MasksServicer_to_server(
            MasksServicer(
                engine=self._engine,
                models=self._models,
                clips=self._clips,
                turns=self._turns,
                mask_limit=self._settings.mask_limit,
                stopping=self.stopping,
            ),
            server,
        )
        captions_pb2_grpc.add_CaptionsServicer_to_server(
            CaptionsServicer(
                engine=self._engine,
                models=self._models,
                clips=self._clips,
                turns=self._turns,
                stopping=self.stopping,
            ),
            server,
        )
        jobs_pb2_grpc.add_JobsServicer_to_server(
            JobsServicer(
                self._queue,
                engine=self._engine,
                models=self._models,
                clips=self._clips,
                takes=self._takes,
                storage=self._storage,
                mask_limit=self._settings.mask_limit,
                stopping=self.stopping,
            ),
            server,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection(_SERVICES[1:], server)
        return server

    def _places(self) -> list[tuple[Listen, Certificate | None]]:
        """Where to listen, the card's address first; beyond this machine, also where local clients look."""
        local = Listen.parse(listen_address(self._folders.run))
        wanted = self._options.listen
        if wanted is None:
            return [(local, None)]
        if wanted.socket is not None or (wanted.local and self._options.certificate is None):
            return [(wanted, None)]
        return [(local, None), (wanted, self._options.certificate)]
