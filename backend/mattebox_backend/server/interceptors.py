"""What stands in front of every method: the token, the translation of errors, the count of open calls."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from mattebox_proto.auth import ERROR_KEY, TOKEN_KEY, token_matches
from mattebox_proto.errors import KINDS

from mattebox_backend.errors import MatteboxError
from mattebox_backend.faults import Unexpected, explain

_log = logging.getLogger(__name__)

if TYPE_CHECKING:  # grpc's classes are generic for type checkers only
    _Handler = grpc.RpcMethodHandler[Any, Any]
    _Continuation = Callable[[grpc.HandlerCallDetails], _Handler | None]
_Behaviour = Callable[[Any, grpc.ServicerContext], Any]


class Activity:
    """How many calls are open, and since when there has been none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._last = time.monotonic()

    def begin(self, context: grpc.ServicerContext) -> None:
        """Counts a call until its context ends."""
        with self._lock:
            self._open += 1
        if not context.add_callback(self._end):  # it has ended already
            self._end()

    def _end(self) -> None:
        with self._lock:
            self._open -= 1
            self._last = time.monotonic()

    def idle_seconds(self) -> float:
        """Seconds since the last call ended; 0 while one is open."""
        with self._lock:
            return 0.0 if self._open else time.monotonic() - self._last


class TokenGate(grpc.ServerInterceptor):
    """Lets a call of any method pass when it carries this run's token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> _Handler | None:
        given = [value for key, value in handler_call_details.invocation_metadata if key == TOKEN_KEY]
        token = given[0] if given else ""
        if token_matches(self._token, token if isinstance(token, str) else ""):
            return continuation(handler_call_details)
        return _like(continuation(handler_call_details), _refuse)


class ErrorGate(grpc.ServerInterceptor):
    """Turns what a method raises into a status code, one sentence and a kind; counts its calls.

    log: where the user finds the traceback of an unexpected error.
    """

    def __init__(self, activity: Activity, *, log: Path) -> None:
        self._activity = activity
        self._log_path = log

    def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> _Handler | None:
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        behaviour = _behaviour(handler)

        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            self._activity.begin(context)
            try:
                return behaviour(request, context)
            except Exception as error:  # the edge of the process: everything becomes a status
                self._fail(context, error, method)

        def streaming(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            self._activity.begin(context)
            try:
                yield from behaviour(request, context)
            except Exception as error:  # the edge of the process: everything becomes a status
                self._fail(context, error, method)

        return _like(handler, streaming if handler.response_streaming else unary)

    def _fail(self, context: grpc.ServicerContext, error: Exception, method: str) -> NoReturn:
        if not context.is_active():
            context.abort(grpc.StatusCode.CANCELLED, "The client is gone.")
        fault = explain(error, doing=f"answering {method.rpartition('/')[2]}", log=self._log_path)
        if isinstance(fault, Unexpected):
            _log.error("%s failed", method, exc_info=error)
        _abort(context, fault)


def _abort(context: grpc.ServicerContext, fault: MatteboxError) -> NoReturn:
    context.set_trailing_metadata(((ERROR_KEY, fault.kind),))
    context.abort(KINDS[fault.kind].status, str(fault))


def _refuse(_request: Any, context: grpc.ServicerContext) -> NoReturn:
    context.set_trailing_metadata(((ERROR_KEY, "unauthorised"),))
    context.abort(
        grpc.StatusCode.UNAUTHENTICATED,
        "The token is missing or is not this backend's; read it from the run folder's backend.json.",
    )


def _behaviour(handler: _Handler) -> _Behaviour:
    for behaviour in (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream):
        if behaviour is not None:
            return behaviour
    raise ValueError("a method handler without a behaviour")


def _like(handler: _Handler | None, behaviour: _Behaviour) -> _Handler:
    """A handler that reads and writes what another one does."""
    if handler is None:
        return grpc.unary_unary_rpc_method_handler(behaviour)
    made = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[bool(handler.request_streaming), bool(handler.response_streaming)]
    return made(
        behaviour,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
