"""Observable properties and lists whose changes are recorded for undo.

`Region.name` on an instance is the value; `Region.name.changed(region)` on the class is its signal. So a view
binds to a property by the property itself, never by its name in a string.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar, overload

from mattebox_desktop.model.history import History
from mattebox_desktop.model.signal import Signal

T = TypeVar("T")


class Node:
    """Something with `Observed` properties.

    Args:
        history: where changes are recorded; without one they are free (state of the view, not of the
        project).
    """

    def __init__(self, history: History | None) -> None:
        self.history = history
        self._signals: dict[int, Signal[[Any]]] = {}


class Observed(Generic[T]):
    """A property that tells who listens when it changes, and the node's history how to go back.

    Args:
        weigh: bytes that keeping a former value costs, where they count.
    """

    def __init__(self, default: T, what: str = "", *, weigh: Callable[[T], int] = lambda _: 0) -> None:
        self._default = default
        self.what = what
        self.weigh = weigh
        self._slot = ""

    def __set_name__(self, owner: type[Node], name: str) -> None:
        self._slot = f"_{name}"
        if not self.what:
            self.what = f"{owner.__name__}.{name}"

    @overload
    def __get__(self, instance: None, owner: type[Node]) -> Self: ...

    @overload
    def __get__(self, instance: Node, owner: type[Node]) -> T: ...

    def __get__(self, instance: Node | None, owner: type[Node]) -> Self | T:
        if instance is None:
            return self
        value: T = instance.__dict__.get(self._slot, self._default)
        return value

    def __set__(self, instance: Node, value: T) -> None:
        old = self.__get__(instance, type(instance))
        if old == value:
            return
        self.put(instance, value)
        if instance.history is not None:
            instance.history.record(_ValueChange(self, instance, old, value))

    def put(self, instance: Node, value: T) -> None:
        """Sets the value and tells who listens, without a record: for undo and for loading."""
        instance.__dict__[self._slot] = value
        signal = instance._signals.get(id(self))
        if signal is not None:
            signal.emit(value)

    def changed(self, instance: Node) -> Signal[[T]]:
        """Emits the new value of this property of `instance`."""
        return instance._signals.setdefault(id(self), Signal())


@dataclass(frozen=True, slots=True)
class _ValueChange(Generic[T]):
    prop: Observed[T]
    node: Node
    old: T
    new: T

    @property
    def what(self) -> str:
        return self.prop.what

    @property
    def nbytes(self) -> int:
        return 256 + self.prop.weigh(self.old)

    def revert(self) -> None:
        self.prop.put(self.node, self.old)

    def reapply(self) -> None:
        self.prop.put(self.node, self.new)


class ObservedList(Generic[T]):
    """A list whose changes are observed and recorded. Items are told apart by identity.

    Signals: `inserted(index, item)`, `removed(index, item)`, and `changed()` after either and after a move.

    Args:
        weigh: bytes that keeping an item costs which was taken out, where they count.
    """

    def __init__(
        self, history: History | None, what: str, *, weigh: Callable[[T], int] = lambda _: 0
    ) -> None:
        self.inserted: Signal[[int, T]] = Signal()
        self.removed: Signal[[int, T]] = Signal()
        self.changed: Signal[[]] = Signal()
        self._history = history
        self._items: list[T] = []
        self.what = what
        self.weigh = weigh

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._items))

    def __getitem__(self, index: int) -> T:
        return self._items[index]

    def index(self, item: T) -> int:
        """Raises ValueError when the item is not in the list."""
        return next(i for i in self._find(item))

    def insert(self, index: int, item: T) -> None:
        before = list(self._items)
        self._items.insert(index, item)
        self._record(before)
        self.inserted.emit(self.index(item), item)
        self.changed.emit()

    def append(self, item: T) -> None:
        self.insert(len(self._items), item)

    def remove(self, item: T) -> None:
        before = list(self._items)
        index = self.index(item)
        del self._items[index]
        self._record(before)
        self.removed.emit(index, item)
        self.changed.emit()

    def move(self, item: T, index: int) -> None:
        before = list(self._items)
        self._items.remove(item)
        self._items.insert(index, item)
        if self._same(before):
            return
        self._record(before)
        self.changed.emit()

    def put(self, items: Sequence[T]) -> None:
        """Makes the list hold `items` and tells who listens, without a record: for undo and for loading."""
        gone = [item for item in self._items if not any(item is other for other in items)]
        new = [item for item in items if not any(item is other for other in self._items)]
        positions = {id(item): self.index(item) for item in gone}
        self._items = list(items)
        for item in gone:
            self.removed.emit(positions[id(item)], item)
        for item in new:
            self.inserted.emit(self.index(item), item)
        self.changed.emit()

    def _find(self, item: T) -> Iterator[int]:
        found = [i for i, other in enumerate(self._items) if other is item]
        if not found:
            raise ValueError(f"{item!r} is not among {self.what}.")
        return iter(found)

    def _same(self, items: list[T]) -> bool:
        return len(items) == len(self._items) and all(a is b for a, b in zip(items, self._items, strict=True))

    def _record(self, before: list[T]) -> None:
        if self._history is not None:
            self._history.record(_ListChange(self, before, list(self._items)))


@dataclass(frozen=True, slots=True)
class _ListChange(Generic[T]):
    """What entered or left goes back by itself, so that items added by the backend meanwhile stay."""

    items: ObservedList[T]
    before: list[T]
    after: list[T]

    @property
    def what(self) -> str:
        return self.items.what

    @property
    def nbytes(self) -> int:
        kept = {id(item) for item in self.after}
        return 256 + sum(self.items.weigh(item) for item in self.before if id(item) not in kept)

    def revert(self) -> None:
        self.items.put(_merge(list(self.items), self.after, self.before))

    def reapply(self) -> None:
        self.items.put(_merge(list(self.items), self.before, self.after))


def _merge(current: list[T], known: list[T], wanted: list[T]) -> list[T]:
    """`wanted`, with the items of `current` that were not `known` when the change was made kept at the
    end.
    """
    strangers = [
        item
        for item in current
        if not any(item is other for other in known) and not any(item is other for other in wanted)
    ]
    return [*wanted, *strangers]


def bind(signal: Signal[[T]], slot: Callable[[T], object], value: T) -> Callable[[], None]:
    """Connects `slot` and calls it once with the present `value`."""
    slot(value)
    return signal.connect(slot)
