"""What can go wrong in the model, each in one sentence that says what to do."""

from __future__ import annotations

from pathlib import Path


class ModelError(Exception):
    """Base of every error of the desktop's model; `str()` is one sentence for the user."""


class OutsideTransactionError(ModelError):
    """The model was changed outside a transaction; the change has been taken back."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} was changed outside a transaction; open one with History.transaction().")


class TransactionOpenError(ModelError):
    """Something was asked for that has to wait until a change is made."""

    def __init__(self, title: str) -> None:
        super().__init__(f"“{title}” is still being made; finish or cancel it first.")


class NothingToUndoError(ModelError):
    """The history has no step in the direction asked for."""


class MaskSizeError(ModelError):
    """A mask has another size than the clip."""

    def __init__(self, name: str, got: tuple[int, int], expected: tuple[int, int]) -> None:
        super().__init__(
            f"The mask {name} is {got[1]}×{got[0]} pixels but the clip is {expected[1]}×{expected[0]}; "
            "use masks of the clip's size."
        )


class RangeError(ModelError):
    """A frame or a range lies outside the clip, or holds no frame."""


class PictureError(ModelError):
    """A picture cannot become a reference: it cannot be read, or it has another size than the clip."""


class IncompleteEditError(ModelError):
    """The project cannot be rendered yet; the sentence says what is missing."""


class ProjectFileError(ModelError):
    """A project file cannot be read or written.

    Attributes:
        path: the file in question.
    """

    def __init__(self, path: Path, sentence: str) -> None:
        super().__init__(sentence)
        self.path = path
