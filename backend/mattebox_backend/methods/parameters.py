"""Typed parameters of a method: one dataclass is the list, the defaults, the bounds and the words for the
user.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from mattebox_backend.errors import InvalidEdit, ModelRefused

ParameterValue = bool | int | float | str
ParameterKind = Literal["bool", "int", "float", "text", "choice"]
Parameters = TypeVar("Parameters")

_METADATA = "parameter"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a method, as a client shows it.

    minimum, maximum: bounds of a number, both included. choices: of a `choice` and of some numbers, else
    empty.
    """

    name: str
    kind: ParameterKind
    default: ParameterValue
    description: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[ParameterValue, ...] = ()


def switch(default: bool, description: str) -> Any:
    """A field that is on or off."""
    return field(default=default, metadata={_METADATA: ("bool", description, "", None, None, ())})


def integer(
    default: int, low: int, high: int, description: str, unit: str = "", choices: tuple[int, ...] = ()
) -> Any:
    """A field with a whole number from `low` to `high`, or one of `choices`."""
    return field(default=default, metadata={_METADATA: ("int", description, unit, low, high, choices)})


def number(default: float, low: float, high: float, description: str, unit: str = "") -> Any:
    """A field with a number from `low` to `high`."""
    return field(default=default, metadata={_METADATA: ("float", description, unit, low, high, ())})


def text(default: str, description: str) -> Any:
    """A field with free text."""
    return field(default=default, metadata={_METADATA: ("text", description, "", None, None, ())})


def choice(default: str, choices: tuple[str, ...], description: str) -> Any:
    """A field with one of some words."""
    return field(default=default, metadata={_METADATA: ("choice", description, "", None, None, choices)})


def describe(parameters: type[Any]) -> tuple[Parameter, ...]:
    """The parameters that a dataclass of the fields above declares, in its order."""
    described = []
    for declared in fields(parameters):
        kind, description, unit, low, high, choices = declared.metadata[_METADATA]
        default: Any = declared.default
        described.append(Parameter(declared.name, kind, default, description, unit, low, high, choices))
    return tuple(described)


def parse(
    parameters: type[Parameters],
    method: str,
    given: Mapping[str, ParameterValue],
    model_defaults: Mapping[str, ParameterValue] | None = None,
) -> Parameters:
    """The parameters of a run: what was given, else what the model does best with, else the method's default.

    Raises `InvalidEdit` for an unknown name (with the nearest known one), a value of another type, and a
    value out of bounds; `ModelRefused` where it is the model's own file that has it.
    """
    try:
        values = _checked(parameters, method, model_defaults or {})
    except InvalidEdit as error:
        raise ModelRefused(f"The model's own parameters (mattebox.json) cannot be used: {error}") from error
    return parameters(**{**values, **_checked(parameters, method, given)})


def _checked(
    parameters: type[Any], method: str, given: Mapping[str, ParameterValue]
) -> dict[str, ParameterValue]:
    known = {parameter.name: parameter for parameter in describe(parameters)}
    values: dict[str, ParameterValue] = {}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}."
            raise InvalidEdit(f"The method {method} has no parameter {name!r}; {hint}")
        values[name] = _check(known[name], value)
    return values


def _check(parameter: Parameter, value: ParameterValue) -> ParameterValue:
    name = parameter.name
    if parameter.kind == "bool":
        if not isinstance(value, bool):
            raise InvalidEdit(f"The parameter {name!r} is {value!r}; give true or false.")
        return value
    if parameter.kind in ("text", "choice"):
        if not isinstance(value, str):
            raise InvalidEdit(f"The parameter {name!r} is {value!r}; give text.")
    else:
        value = _check_number(parameter, value)
    if parameter.choices and value not in parameter.choices:
        choices = ", ".join(str(option) for option in parameter.choices)
        raise InvalidEdit(f"The parameter {name!r} is {value!r}; choose one of {choices}.")
    return value


def _check_number(parameter: Parameter, value: ParameterValue) -> int | float:
    whole = parameter.kind == "int"
    name = parameter.name
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidEdit(f"The parameter {name!r} is {value!r}; give a {'whole ' if whole else ''}number.")
    if whole and value != int(value):
        raise InvalidEdit(f"The parameter {name!r} is {value!r}; give a whole number.")
    if not (parameter.minimum is None or parameter.maximum is None) and not (
        parameter.minimum <= value <= parameter.maximum
    ):
        unit = f" {parameter.unit}" if parameter.unit else ""
        raise InvalidEdit(
            f"The parameter {name!r} is {value}; give {parameter.minimum:g} to {parameter.maximum:g}{unit}."
        )
    return int(value) if whole else float(value)
