"""What an experiment is: variants of a method on some tasks, and the orderings that its paper reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mattebox_backend.bench.tasks import Level, Task, load_tasks, to_give_back
from mattebox_backend.bench.variants import Params, Variant

Place = tuple[str, str]
"""A variant, and a figure of it."""


@dataclass(frozen=True, slots=True)
class Ordering:
    """A claim: `figure` grows (or, where not `rising`, falls) from each variant to the next. at_least: equal
    is enough. within: so is a little less, up to so much.
    """

    figure: str
    variants: tuple[str, ...]
    rising: bool = True
    at_least: bool = False
    within: float = 0.0

    @property
    def places(self) -> tuple[Place, ...]:
        """What is held against each other, each against the next."""
        return tuple((variant, self.figure) for variant in self.variants)

    @property
    def words(self) -> str:
        """As the page says it."""
        slack = f", but for {self.within:g}" if self.within else ""
        return f"{self.figure}: " + _chain(self.variants, self.rising, self.at_least) + slack


@dataclass(frozen=True, slots=True)
class FigureOrdering:
    """A claim on one variant: each of its `figures` is larger (or, where not `rising`, smaller) than the one
    before it. at_least: equal is enough.
    """

    variant: str
    figures: tuple[str, ...]
    rising: bool = True
    at_least: bool = False

    @property
    def places(self) -> tuple[Place, ...]:
        """What is held against each other, each against the next."""
        return tuple((self.variant, figure) for figure in self.figures)

    @property
    def words(self) -> str:
        """As the page says it."""
        return f"{self.variant}: " + _chain(self.figures, self.rising, self.at_least)


Claim = Ordering | FigureOrdering


def _chain(names: tuple[str, ...], rising: bool, at_least: bool) -> str:
    sign = {(True, False): "<", (True, True): "≤", (False, False): ">", (False, True): "≥"}
    return f" {sign[rising, at_least]} ".join(names)


@dataclass(frozen=True, slots=True)
class Experiment:
    """Variants of a method on some tasks, and what its paper says of them.

    source: paper and table or figure. levels, tasks: of the list; no level: all that prompts can tell.
    params: of every variant. reconstruct: the task is to give the source back (its prompts for the edit's),
    and is held against the source. sensitivity: every task is rendered once more with masks that are dilated
    by so many pixels, for the figures of eq. 6.5; 0 does not. frames: clips are cut to so many, where a
    variant says nothing of its own; None leaves them whole. sheet: the page shows frames of a task.
    """

    name: str
    title: str
    source: str
    method: str
    levels: tuple[Level, ...]
    tasks: int
    variants: Mapping[str, Variant]
    orderings: tuple[Claim, ...]
    figures: tuple[str, ...]
    params: Params = field(default_factory=dict)
    reconstruct: bool = False
    backbone: str = "pocket-sd"
    sensitivity: int = 0
    frames: int | None = None
    sheet: bool = False


def tasks_of(experiment: Experiment) -> list[Task]:
    """The tasks of an experiment, as it puts them."""
    tasks = load_tasks(*experiment.levels)[: experiment.tasks]
    return [to_give_back(task) for task in tasks] if experiment.reconstruct else tasks
