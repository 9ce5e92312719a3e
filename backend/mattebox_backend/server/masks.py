"""The Masks service: regions that nobody painted."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import grpc
from mattebox_proto.codecs.masks import encode_track
from mattebox_proto.mattebox.v1 import jobs_pb2, masks_pb2, masks_pb2_grpc

from mattebox_backend.errors import TooLarge
from mattebox_backend.jobs.clips import Clips
from mattebox_backend.jobs.engine import Engine
from mattebox_backend.jobs.turns import DeviceTurns
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.segment import Proposal, ProposalRequest
from mattebox_backend.server.errands import Errands, Say

if TYPE_CHECKING:
    from mattebox_backend.render import Stage

_MOST_SEARCHES = 8


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
        self._mask_limit = mask_limit
        self._searches: Errands[masks_pb2.ProposeEvent] = Errands(
            engine,
            turns,
            stopping,
            most=_MOST_SEARCHES,
            what="searches for regions",
            cancelled="The search for regions was cancelled.",
        )

    def Propose(
        self, request: masks_pb2.ProposeRequest, context: grpc.ServicerContext
    ) -> Iterator[masks_pb2.ProposeEvent]:
        wanted = self._request(request)

        def search(say: Say[masks_pb2.ProposeEvent]) -> Iterable[masks_pb2.ProposeEvent]:
            def progress(stage: Stage, step: int, of: int) -> None:
                say(_progress(jobs_pb2.Stage.Value(f"STAGE_{stage.value.upper()}"), step, of))

            return map(_message, self._engine.propose(wanted, progress))

        yield from self._searches.run(context, _progress(jobs_pb2.STAGE_UNSPECIFIED, 0, 1), search)

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


def _progress(stage: jobs_pb2.Stage.ValueType, step: int, of: int) -> masks_pb2.ProposeEvent:
    return masks_pb2.ProposeEvent(progress=masks_pb2.ProposeProgress(stage=stage, step=step, of=of))


def _message(proposal: Proposal) -> masks_pb2.ProposeEvent:
    found = masks_pb2.RegionProposal(masks=encode_track(proposal.masks), share=proposal.share)
    return masks_pb2.ProposeEvent(proposal=found)
