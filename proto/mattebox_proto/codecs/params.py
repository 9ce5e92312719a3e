"""A method's parameters ⇄ Parameter messages, types kept: true is not 1, and 1 is not 1.0."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mattebox_proto.errors import InvalidMessage
from mattebox_proto.mattebox.v1 import edit_pb2

Value = bool | int | float | str


def encode_params(params: Mapping[str, Value]) -> dict[str, edit_pb2.Parameter]:
    """Raises InvalidMessage for a number that is not finite or an integer over 64 bits."""
    return {name: _encode(name, value) for name, value in params.items()}


def decode_params(messages: Mapping[str, edit_pb2.Parameter]) -> dict[str, Value]:
    """Returns the values by name, sorted by name (a protobuf map has no order)."""
    return {name: _decode(name, messages[name]) for name in sorted(messages)}


def _encode(name: str, value: Value) -> edit_pb2.Parameter:
    match value:
        case bool():
            return edit_pb2.Parameter(flag=value)
        case int():
            if not -(2**63) <= value < 2**63:
                raise InvalidMessage(f"parameter {name} = {value} does not fit into 64 bits")
            return edit_pb2.Parameter(integer=value)
        case float():
            if not math.isfinite(value):
                raise InvalidMessage(f"parameter {name} = {value} is not a finite number")
            return edit_pb2.Parameter(number=value)
        case str():
            return edit_pb2.Parameter(text=value)


def _decode(name: str, message: edit_pb2.Parameter) -> Value:
    match message.WhichOneof("value"):
        case "flag":
            return message.flag
        case "integer":
            return message.integer
        case "number":
            if not math.isfinite(message.number):
                raise InvalidMessage(f"parameter {name} = {message.number} is not a finite number")
            return message.number
        case "text":
            return message.text
        case _:
            raise InvalidMessage(f"parameter {name} has no value")
