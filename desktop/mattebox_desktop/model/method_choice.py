"""By which method, and on which model, a project is rendered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

AUTO = "auto"
DEFAULT_METHOD = "st-modulator"
"""What "auto" means for an edit without references: layout-guided attention."""


class Named(Protocol):
    @property
    def name(self) -> str: ...


class KnownMethod(Protocol):
    """What counts of a method here.

    takes_references: an edit for it has references, for each region that has any one at the in point.
    families: of models that it runs on, the best first; empty: not restricted.
    """

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def available(self) -> bool: ...
    @property
    def parameters(self) -> Sequence[Named]: ...
    @property
    def takes_references(self) -> bool: ...
    @property
    def families(self) -> Sequence[str]: ...


class KnownModel(Protocol):
    """What counts of a model here."""

    @property
    def id(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def available(self) -> bool: ...
    @property
    def shipped(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Known:
    """The backend's methods and models; none while it has not told of them."""

    methods: Sequence[KnownMethod] = ()
    models: Sequence[KnownModel] = ()

    def method(self, id_: str) -> KnownMethod | None:
        return next((method for method in self.methods if method.id == id_), None)

    def of_another(self, parameter: str, method: str) -> bool:
        """Whether a parameter belongs to other methods and not to that one."""
        having = {m.id for m in self.methods if any(p.name == parameter for p in m.parameters)}
        return bool(having) and self.method(method) is not None and method not in having

    @property
    def for_references(self) -> KnownMethod | None:
        """The method that "auto" means for an edit with references."""
        return next((m for m in self.methods if m.available and m.takes_references), None)


@dataclass(frozen=True, slots=True)
class Choice:
    """method, backbone: their ids."""

    method: str
    backbone: str


def choose(method: str, backbone: str, known: Known, *, with_references: bool) -> Choice:
    """What renders a project that says `method` and `backbone`.

    "auto" takes a method that makes use of references where there are some, and with it, should the
    project's model be of another family, one here that fits. A model that the backend does not
    list (a folder, a hub id) is kept: only the backend can tell what it is.
    """
    if method != AUTO:
        return Choice(method, backbone)
    chosen = known.for_references if with_references else None
    if chosen is None:
        return Choice(DEFAULT_METHOD, backbone)
    if runs_on(chosen, backbone, known):
        return Choice(chosen.id, backbone)
    fitting = fitting_model(chosen, known)
    return Choice(chosen.id, backbone if fitting is None else fitting.id)


def runs_on(method: KnownMethod, backbone: str, known: Known) -> bool:
    """Whether the method may run on that model, as far as is known here."""
    model = next((model for model in known.models if model.id == backbone), None)
    return not method.families or model is None or model.family in method.families


def fitting_model(method: KnownMethod, known: Known) -> KnownModel | None:
    """A model here that the method runs on: one that ships rather than one that may be much larger."""
    families = list(method.families)
    fitting = [model for model in known.models if model.available and model.family in families]
    order = sorted(fitting, key=lambda model: (not model.shipped, families.index(model.family)))
    return order[0] if order else None
