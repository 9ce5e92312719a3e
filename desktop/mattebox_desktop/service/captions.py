"""What a frame shows, in the words of the backend's captioner: asked for, watched and cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mattebox_proto.cancellable import CancellableCall
from mattebox_proto.client import Client
from mattebox_proto.codecs.frames import encode_image
from mattebox_proto.errors import BackendError, BackendGone, Cancelled, Unauthorised
from mattebox_proto.mattebox.v1 import captions_pb2
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Qt, Signal, Slot

from mattebox_desktop.service.backend import BackendConnection
from mattebox_desktop.service.job_view import CaptionerInfo, ConnectionState, ModelInfo
from mattebox_desktop.service.wire import captioner_info
from mattebox_desktop.service.worker import CLOSING_SECONDS

_STATES: dict[int, str] = {
    captions_pb2.DESCRIBE_STATE_WAITING: "Waiting for the backend…",
    captions_pb2.DESCRIBE_STATE_LOADING: "Loading the captioner…",
    captions_pb2.DESCRIBE_STATE_DESCRIBING: "Describing the frame…",
}
_OF_FEW_WORDS = ("stable-diffusion", "stable-diffusion-inpaint", "animatediff", "region-diffusion")
"""Model families that read a prompt through CLIP: 77 tokens at most, which a paragraph goes beyond."""
_AWAY = (BackendGone, Unauthorised)


@dataclass(frozen=True, slots=True, eq=False)
class CaptionOrder:
    """What is to be described, and for what.

    purpose: tells the orders apart for whoever shows them. picture: (H, W, 3) uint8, in place of the frame.
    backbone: the model that is to read the words. done, failed: called with the caption, or with the reason.
    """

    purpose: object
    clip: Path
    frame: int
    backbone: str
    done: Callable[[str], object]
    failed: Callable[[Exception], object]
    picture: NDArray[np.uint8] | None = None


class Captions(QObject):
    """One caption at a time. Signal `changed()`: what is under way, or whether there is a captioner."""

    changed = Signal()
    _happened = Signal(object, object)

    def __init__(self, backend: BackendConnection, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.words = ""
        self._backend = backend
        self._captioner = CaptionerInfo(False, "")
        self._families: dict[str, str] = {}
        self._order: CaptionOrder | None = None
        self._call: _Call | None = None
        self._ending: list[_Call] = []
        self._closed = False
        self._happened.connect(self._take_news, Qt.ConnectionType.QueuedConnection)
        backend.captioner.connect(self._take_captioner)
        backend.models.connect(self._take_models)
        backend.changed.connect(lambda _: self.changed.emit())

    @property
    def purpose(self) -> object:
        """Of the order under way; None while there is none."""
        return None if self._order is None else self._order.purpose

    @property
    def why_not(self) -> str:
        """Why nothing can be described now, and what to do about it; empty when it can."""
        if self._backend.status.state is not ConnectionState.READY:
            return "The backend is not ready."
        if self._captioner.available:
            return ""
        return self._captioner.note or "This backend knows of no captioner."

    def look(self) -> None:
        """Asks again whether there is a captioner: its weights may just have been fetched."""
        if self._backend.status.state is ConnectionState.READY and not self._captioner.available:
            self._backend.call(
                lambda client: captioner_info(client.list_models()), self._take_captioner, lambda _: None
            )

    def describe(self, order: CaptionOrder) -> None:
        """Asks for a caption, in place of one that is under way."""
        self.cancel()
        self._order, self.words = order, _STATES[captions_pb2.DESCRIBE_STATE_WAITING]
        self.changed.emit()
        self._backend.call(
            lambda client: (client, _request(client, order, self._detail(order.backbone))),
            lambda asked: self._begin(order, *asked),
            lambda error: self._take_news(order, error),
        )

    def cancel(self) -> None:
        """Ends what is under way, in the backend too."""
        if self._call is not None:
            self._call.cancel()
            self._ending = [call for call in (*self._ending, self._call) if call.alive]
        self._order = self._call = None
        if not self._closed:
            self.changed.emit()

    def close(self) -> None:
        """Ends every thread."""
        self._closed = True
        self.cancel()
        for call in self._ending:
            call.join()

    # -- inside ----------------------------------------------------------------------------------------------

    def _detail(self, backbone: str) -> captions_pb2.CaptionDetail.ValueType:
        if self._families.get(backbone) in _OF_FEW_WORDS:
            return captions_pb2.CAPTION_DETAIL_SENTENCE
        return captions_pb2.CAPTION_DETAIL_PARAGRAPH

    def _begin(self, order: CaptionOrder, client: Client, request: captions_pb2.DescribeRequest) -> None:
        if self._order is not order or self._closed:
            return
        self._call = _Call(client.describe(request), lambda news: self._happened.emit(order, news))
        self._call.start()

    @Slot(object, object)
    def _take_news(self, order: CaptionOrder, news: object) -> None:
        """What the thread of an order says; what one that was cancelled still says is not heard."""
        if self._closed or self._order is not order:
            return
        if isinstance(news, captions_pb2.DescribeEvent) and news.WhichOneof("event") == "state":
            self.words = _STATES.get(news.state, self.words)
            self.changed.emit()
            return
        self._order = self._call = None
        self.changed.emit()
        if isinstance(news, captions_pb2.DescribeEvent):
            order.done(news.caption)
        elif isinstance(news, _AWAY):
            self._backend.lost()
            order.failed(news)
        elif isinstance(news, Exception) and not isinstance(news, Cancelled):
            order.failed(news)

    def _take_captioner(self, captioner: CaptionerInfo) -> None:
        self._captioner = captioner
        self.changed.emit()

    def _take_models(self, models: list[ModelInfo]) -> None:
        self._families = {model.id: model.family for model in models}


class _Call:
    """Listens to one call in a thread of its own."""

    def __init__(
        self, call: CancellableCall[captions_pb2.DescribeEvent], tell: Callable[[object], None]
    ) -> None:
        self._call = call
        self._tell = tell
        self._thread = threading.Thread(target=self._run, name="describing a frame", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def cancel(self) -> None:
        self._call.cancel()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(CLOSING_SECONDS)

    def _run(self) -> None:
        try:
            for event in self._call:
                self._tell(event)
        except (BackendError, OSError, ValueError) as error:
            self._tell(error)


def _request(
    client: Client, order: CaptionOrder, detail: captions_pb2.CaptionDetail.ValueType
) -> captions_pb2.DescribeRequest:
    if order.picture is not None:
        return captions_pb2.DescribeRequest(picture=encode_image(order.picture), detail=detail)
    clip = client.open_clip(order.clip)
    return captions_pb2.DescribeRequest(clip=clip.id, frame=order.frame, detail=detail)
