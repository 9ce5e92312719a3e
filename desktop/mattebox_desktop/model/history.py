"""Transactions and undo: every change to the model is recorded, or taken back.

The pattern is gaphor's: a change made outside a transaction is reverted and raises, so undo can never miss
one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Protocol

from mattebox_desktop.model.errors import (
    NothingToUndoError,
    OutsideTransactionError,
    TransactionOpenError,
)
from mattebox_desktop.model.signal import Signal

MERGE_SECONDS = 1.5
"""Steps of one field that follow each other faster than this undo as one."""


class Change(Protocol):
    """One change that has been made: it knows the way back and the way forth again."""

    @property
    def what(self) -> str:
        """The thing that changed, in words."""

    @property
    def nbytes(self) -> int:
        """Bytes that keeping this change costs."""

    def revert(self) -> None: ...

    def reapply(self) -> None: ...


class Transaction:
    """Changes that undo as one step. Made by `History.begin`."""

    def __init__(self, title: str, merge: Hashable | None, undoable: bool) -> None:
        self.title = title
        self.merge = merge
        self.undoable = undoable
        self.changes: list[Change] = []
        self.committed_at = 0.0

    @property
    def nbytes(self) -> int:
        return sum(change.nbytes for change in self.changes)

    def revert(self) -> None:
        for change in reversed(self.changes):
            change.revert()

    def reapply(self) -> None:
        for change in self.changes:
            change.reapply()


class History:
    """The steps that led here and those that were taken back.

    Args:
        limit_bytes: once the kept masks weigh more than this, the oldest steps are forgotten.
    """

    def __init__(self, limit_bytes: int = 512 << 20, clock: Callable[[], float] = time.monotonic) -> None:
        self.changed: Signal[[]] = Signal()
        self._undo: list[Transaction] = []
        self._redo: list[Transaction] = []
        self._open: Transaction | None = None
        self._depth = 0
        self._waiting: list[Callable[[], object]] = []
        self._replaying = False
        self._limit = limit_bytes
        self._clock = clock
        self._saved: Transaction | None = None
        self._loose = False

    # -- recording -------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(
        self, title: str, *, merge: Hashable | None = None, undoable: bool = True
    ) -> Iterator[Transaction]:
        """Changes made inside undo as one step called `title`; an exception takes them all back.

        A transaction inside another one joins it. Steps with the same `merge` key that follow each other
        quickly become one. With `undoable=False` the changes are kept out of undo (what the backend did, not
        the user).
        """
        transaction = self.begin(title, merge=merge, undoable=undoable)
        try:
            yield transaction
        except BaseException:
            self.abort()
            raise
        self.commit()

    def begin(self, title: str, *, merge: Hashable | None = None, undoable: bool = True) -> Transaction:
        """Opens a transaction that `commit` or `abort` ends: for a gesture that spans several events.

        Raises:
            TransactionOpenError: what is kept out of undo cannot join a step of the user's; see `when_idle`.
        """
        if self._open is None:
            self._open = Transaction(title, merge, undoable)
        elif self._open.undoable and not undoable:
            raise TransactionOpenError(self._open.title)
        self._depth += 1
        return self._open

    def commit(self) -> None:
        transaction = self._require_open()
        self._depth -= 1
        if self._depth:
            return
        self._open = None
        if transaction.changes:
            transaction.committed_at = self._clock()
            if transaction.undoable:
                self._push(transaction)
            else:
                self._loose = True
            self.changed.emit()
        self._call_waiting()

    def abort(self) -> None:
        """Takes back what the open transaction changed; the transactions around it see no change of its
        own.
        """
        transaction = self._require_open()
        self._depth -= 1
        self._replaying = True
        try:
            transaction.revert()
        finally:
            self._replaying = False
        transaction.changes.clear()
        if not self._depth:
            self._open = None
            self.changed.emit()
            self._call_waiting()

    def when_idle(self, act: Callable[[], object]) -> None:
        """Calls `act` now, or as soon as the open transaction has ended: for what comes from outside while
        the user's hand is on something.
        """
        if self._open is None:
            act()
        else:
            self._waiting.append(act)

    def record(self, change: Change) -> None:
        """Notes a change that was just made.

        Raises:
            OutsideTransactionError: no transaction is open; the change has been reverted.
        """
        if self._replaying:
            return
        if self._open is None:
            self._replaying = True
            try:
                change.revert()
            finally:
                self._replaying = False
            raise OutsideTransactionError(change.what)
        self._open.changes.append(change)

    # -- undo and redo ---------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """A transaction is open (a stroke under way)."""
        return self._open is not None

    @property
    def undo_title(self) -> str | None:
        return self._undo[-1].title if self._undo else None

    @property
    def redo_title(self) -> str | None:
        return self._redo[-1].title if self._redo else None

    def undo(self) -> str:
        """Takes the last step back and returns its title.

        Raises:
            TransactionOpenError: a change is still being made.
            NothingToUndoError: there is no step.
        """
        transaction = self._take(self._undo, "There is nothing to undo.")
        self._replay(transaction.revert)
        self._redo.append(transaction)
        self.changed.emit()
        return transaction.title

    def redo(self) -> str:
        """Makes the step that was last taken back again; the errors are those of `undo`."""
        transaction = self._take(self._redo, "There is nothing to redo.")
        self._replay(transaction.reapply)
        transaction.merge = None
        self._undo.append(transaction)
        self.changed.emit()
        return transaction.title

    # -- saved or not ----------------------------------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        """What is in memory differs from what was last saved."""
        return self._loose or (self._undo[-1] if self._undo else None) is not self._saved

    def mark_saved(self) -> None:
        self._saved = self._undo[-1] if self._undo else None
        self._loose = False
        self.changed.emit()

    def mark_unsaved(self) -> None:
        """What is in memory was never written where the user will look for it (a recovered project)."""
        self._loose = True
        self.changed.emit()

    # -- inside ----------------------------------------------------------------------------------------------

    def _push(self, transaction: Transaction) -> None:
        self._redo.clear()
        last = self._undo[-1] if self._undo else None
        merges = (
            last is not None
            and last is not self._saved
            and transaction.merge is not None
            and last.merge == transaction.merge
            and transaction.committed_at - last.committed_at < MERGE_SECONDS
        )
        if merges and last is not None:
            last.changes.extend(transaction.changes)
            last.committed_at = transaction.committed_at
        else:
            self._undo.append(transaction)
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        weight = sum(transaction.nbytes for transaction in self._undo)
        while weight > self._limit and len(self._undo) > 1:
            gone = self._undo.pop(0)
            weight -= gone.nbytes
            if self._saved is None:
                self._saved = gone  # the state that was saved cannot be reached by undo any more

    def _call_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for act in waiting:
            act()

    def _require_open(self) -> Transaction:
        if self._open is None:
            raise OutsideTransactionError("The project")
        return self._open

    def _take(self, stack: list[Transaction], sentence: str) -> Transaction:
        if self._open is not None:
            raise TransactionOpenError(self._open.title)
        if not stack:
            raise NothingToUndoError(sentence)
        return stack.pop()

    def _replay(self, step: Callable[[], None]) -> None:
        self._replaying = True
        try:
            step()
        finally:
            self._replaying = False
