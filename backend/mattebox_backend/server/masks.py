"""The Masks service: regions that nobody painted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING

import grpc
from mattebox_proto.codecs.masks import encode_track
from mattebox_proto.mattebox.v1 import jobs_pb2, masks_pb2, masks_pb2_grpc

from mattebox_backend.errors import Cancelled, TooLarge
from mattebox_backend.jobs.clips import Clips
from mattebox_backend.jobs.engine import Engine
from mattebox_backend.jobs.turns import DeviceTurns
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.segment import Proposal, ProposalRequest

if TYPE_CHECKING:
    from mattebox_backend.render import Stage

_MOST_SEARCHES = 8
"""Each holds a thread of the server's while it waits or works."""


class MasksServicer(masks_pb2_grpc.MasksServicer):
    """mask_limit: bytes of one answer's masks, unpacked. stopping: set when the backend is about to end."""

    def __init__(
        self,
        *,
        engine: Engine,
        models: ModelRegistry,
        clips: Clips,
        turns: DeviceTurns,
        mask_limit: int,
        stopping: threading.Event,
    ) -> None:
        self._engine = engine
        self._models = models
        self._clips = clips
        self._turns = turns
        self._mask_limit = mask_limit
        self._stopping = stopping
        self._searches = threading.BoundedSemaphore(_MOST_SEARCHES)

    def Propose(
        self, request: masks_pb2.ProposeRequest, context: grpc.ServicerContext
    ) -> Iterator[masks_pb2.ProposeEvent]:
        wanted = self._request(request)
        if not self._searches.acquire(blocking=False):
            raise TooLarge(
                f"{_MOST_SEARCHES} searches for regions are under way already; wait for one to end."
            )
        # The search is a thread of its own, so that its turn ends with it, also when nobody reads on.
        search = _Search(self._engine, self._turns, wanted, lambda: self._goes_on(context))
        search.start()
        try:
            yield from search.events()
        finally:
            self._searches.release()

    def _goes_on(self, context: grpc.ServicerContext) -> bool:
        return bool(context.is_active()) and not self._stopping.is_set()

    def _request(self, message: masks_pb2.ProposeRequest) -> ProposalRequest:
        """Raises InvalidEdit, NotFound, TooLarge and UnknownModel for what cannot be asked."""
        clip = self._clips.find(message.clip)
        request = ProposalRequest(
            clip=clip.path,
            start=message.start,
            stop=message.stop,
            backbone=message.backbone,
            prompt=message.prompt,
            regions=message.regions,
            reduction=message.reduction,
            seed=message.seed,
        )
        request.check(clip.info)
        self._models.resolve(request.backbone)
        unpacked = (request.stop - request.start) * clip.info.width * clip.info.height * request.regions
        if unpacked > self._mask_limit:
            raise TooLarge(
                f"The masks of {request.regions} regions over {request.stop - request.start} frames of "
                f"{clip.info.width}x{clip.info.height} take {unpacked >> 20} MiB, and the limit is "
                f"{self._mask_limit >> 20} MiB; choose a shorter range (or raise mask_limit in backend.toml)."
            )
        return request


class _Search(threading.Thread):
    """One search, when the device is free; `events` gives what it says while it runs."""

    def __init__(
        self, engine: Engine, turns: DeviceTurns, request: ProposalRequest, goes_on: Callable[[], bool]
    ) -> None:
        super().__init__(name="mattebox-search", daemon=True)
        self._engine = engine
        self._turns = turns
        self._request = request
        self._goes_on = goes_on
        self._said: SimpleQueue[masks_pb2.ProposeEvent | BaseException | None] = SimpleQueue()

    def events(self) -> Iterator[masks_pb2.ProposeEvent]:
        """Until the search ends; raises what it raised."""
        while (event := self._said.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event

    def run(self) -> None:
        try:
            self._say(jobs_pb2.STAGE_UNSPECIFIED, 0, 1)
            with self._turns.turn(self._goes_on) as mine:
                if not mine:
                    raise Cancelled("The search for regions was cancelled.")
                try:
                    found = self._engine.propose(self._request, self._progress)
                finally:
                    self._engine.release()
            for proposal in found:
                self._said.put(masks_pb2.ProposeEvent(proposal=_message(proposal)))
        except BaseException as error:  # raised again where the call is answered
            self._said.put(error)
        else:
            self._said.put(None)

    def _progress(self, stage: Stage, step: int, of: int) -> None:
        """Raises Cancelled when nobody waits for the search any more."""
        if not self._goes_on():
            raise Cancelled("The search for regions was cancelled.")
        self._say(jobs_pb2.Stage.Value(f"STAGE_{stage.value.upper()}"), step, of)

    def _say(self, stage: jobs_pb2.Stage.ValueType, step: int, of: int) -> None:
        progress = masks_pb2.ProposeProgress(stage=stage, step=step, of=of)
        self._said.put(masks_pb2.ProposeEvent(progress=progress))


def _message(proposal: Proposal) -> masks_pb2.RegionProposal:
    return masks_pb2.RegionProposal(masks=encode_track(proposal.masks), share=proposal.share)
