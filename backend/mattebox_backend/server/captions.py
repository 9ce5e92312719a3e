"""The Captions service: words for a frame or a picture."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import grpc
from mattebox_proto.codecs.frames import decode_image
from mattebox_proto.mattebox.v1 import captions_pb2, captions_pb2_grpc

from mattebox_backend.captions import CaptionRequest, CaptionStage, Detail
from mattebox_backend.captions.request import eight_bit
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.jobs.clips import Clips
from mattebox_backend.jobs.engine import Engine
from mattebox_backend.jobs.turns import DeviceTurns
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.server.errands import Errands, Say

_MOST_CAPTIONS = 8
_STATES = {
    CaptionStage.LOADING: captions_pb2.DESCRIBE_STATE_LOADING,
    CaptionStage.DESCRIBING: captions_pb2.DESCRIBE_STATE_DESCRIBING,
}
_DETAILS = {
    captions_pb2.CAPTION_DETAIL_UNSPECIFIED: Detail.PARAGRAPH,
    captions_pb2.CAPTION_DETAIL_SENTENCE: Detail.SENTENCE,
    captions_pb2.CAPTION_DETAIL_DETAILED: Detail.DETAILED,
    captions_pb2.CAPTION_DETAIL_PARAGRAPH: Detail.PARAGRAPH,
}


class CaptionsServicer(captions_pb2_grpc.CaptionsServicer):
    """stopping: set when the backend is about to end."""

    def __init__(
        self,
        *,
        engine: Engine,
        models: ModelRegistry,
        clips: Clips,
        turns: DeviceTurns,
        stopping: threading.Event,
    ) -> None:
        self._engine = engine
        self._models = models
        self._clips = clips
        self._captions: Errands[captions_pb2.DescribeEvent] = Errands(
            engine,
            turns,
            stopping,
            most=_MOST_CAPTIONS,
            what="captions",
            cancelled="The caption was cancelled.",
        )

    def Describe(
        self, request: captions_pb2.DescribeRequest, context: grpc.ServicerContext
    ) -> Iterator[captions_pb2.DescribeEvent]:
        wanted = self._request(request)

        def work(say: Say[captions_pb2.DescribeEvent]) -> Iterable[captions_pb2.DescribeEvent]:
            def tell(stage: CaptionStage) -> None:
                say(_state(_STATES[stage]))

            return [captions_pb2.DescribeEvent(caption=self._engine.describe(wanted, tell))]

        last = None
        for event in self._captions.run(context, _state(captions_pb2.DESCRIBE_STATE_WAITING), work):
            if event != last:  # told before every word, so that a cancelled call ends there
                yield event
            last = event

    def _request(self, message: captions_pb2.DescribeRequest) -> CaptionRequest:
        """Raises InvalidEdit, NotFound, UnknownModel and ModelRefused for what cannot be asked."""
        detail = _DETAILS.get(message.detail)
        if detail is None:
            raise InvalidEdit(
                f"The detail {message.detail} of a caption is not known to this version; ask for a sentence, "
                "a detailed caption or a paragraph."
            )
        picture = eight_bit(decode_image(message.picture)) if message.HasField("picture") else None
        clip = self._clips.find(message.clip) if picture is None else None
        if clip is not None and message.frame >= clip.info.frame_count:
            raise InvalidEdit(
                f"The frame {message.frame} is not within the clip, which has frames 0 to "
                f"{clip.info.frame_count - 1}."
            )
        self._models.resolve_captioner(message.captioner)
        path = None if clip is None else clip.path
        return CaptionRequest(path, message.frame, picture, detail, message.captioner)


def _state(state: captions_pb2.DescribeState.ValueType) -> captions_pb2.DescribeEvent:
    return captions_pb2.DescribeEvent(state=state)
