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


class ReferencesUnusedError(IncompleteEditError):
    """The chosen method would render without the references.

    Attributes:
        auto_helps: "auto" would choose a method that takes them.
    """

    def __init__(self, method: str, count: int, auto_helps: bool) -> None:
        references = "the reference" if count == 1 else f"the {count} references"
        remedy = (
            "choose Auto as the method"
            if auto_helps
            else "this version of the backend has no method that takes references"
        )
        super().__init__(
            f"“{method}” works from prompts alone and would leave {references} unused; {remedy}, or choose "
            "“Render without references” in the Render menu."
        )
        self.auto_helps = auto_helps


class FirstReferenceError(IncompleteEditError):
    """An edit is carried on from the first frame, and there is no reference there.

    Attributes:
        frame: the first frame, which needs one.
    """

    def __init__(self, method: str, frame: int, region: str | None, other: int) -> None:
        if region is None:
            super().__init__(
                f"“{method}” carries edited pictures on, and there is none between in and out; add a "
                f"reference at the in point, frame {frame}."
            )
        else:
            super().__init__(
                f"“{region}” has a reference at frame {other} and none at the in point, frame {frame}, from "
                "which the edit is carried on; add one there, or move the in point."
            )
        self.frame = frame


class WrongModelError(IncompleteEditError):
    """The chosen method does not run on the chosen model.

    Attributes:
        fitting: a model here that it runs on, if there is one.
    """

    def __init__(self, method: str, backbone: str, fitting: str | None) -> None:
        remedy = (
            "this machine has none that it runs on" if fitting is None else f"choose {fitting} as the model"
        )
        super().__init__(f"“{method}” does not run on the model {backbone}; {remedy}.")
        self.fitting = fitting


class ProjectFileError(ModelError):
    """A project file cannot be read or written.

    Attributes:
        path: the file in question.
    """

    def __init__(self, path: Path, sentence: str) -> None:
        super().__init__(sentence)
        self.path = path
