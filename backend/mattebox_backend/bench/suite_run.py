"""Runs a suite: every experiment over its tasks, and its page."""

from __future__ import annotations

import difflib
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import typer

from mattebox_backend.bench.bar import run_with_bar
from mattebox_backend.bench.errors import BenchError
from mattebox_backend.bench.experiments import Experiment, tasks_of
from mattebox_backend.bench.results import Results
from mattebox_backend.bench.running import BenchRun
from mattebox_backend.bench.suite_page import findings, write_page
from mattebox_backend.bench.suites import SUITES


def run_suite(
    suite: str,
    names: Sequence[str],
    json_file: Path,
    page: Path | None,
    limit: int | None,
    device: str,
    work: Path,
    scorer: str,
    workers: int = 1,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Run the experiments of a suite, or those named, and say how every ordering fared.

    json_file: holds the figures of all; a second run goes on. page: Markdown that is written anew after
    every experiment. limit: tasks of each, at most. scorer: the CLIP that judges, as in `BenchRun`. workers:
    processes that share the tasks. changes: fields of every experiment that are to be otherwise than it says,
    such as `frames` and `backbone`. Raises `BenchError` for a suite or an experiment that is unknown.
    """
    chosen = [replace(experiment, **changes) for experiment in _choose(suite, names)]
    results: dict[str, Any] = {}
    for experiment in chosen:
        run = BenchRun(
            experiment.method,
            experiment.backbone,
            experiment.params,
            device,
            work,
            scorer,
            name=experiment.name,
            sensitivity=experiment.sensitivity,
            frames=experiment.frames,
        )
        tasks = tasks_of(experiment)[:limit]
        file = Results(json_file, experiment.name)
        results[experiment.name] = run_with_bar(
            experiment.name, run, tasks, experiment.variants, file, workers
        )
        for finding in findings(experiment, results[experiment.name]["variants"]):
            typer.echo(f"{experiment.name}: {finding.ordering.words}: {finding.verdict.replace('*', '')}")
        if page is not None:
            write_page(page, suite, chosen, results, shlex.join(["mattebox", "bench", *_arguments()]), work)


def _choose(suite: str, names: Sequence[str]) -> list[Experiment]:
    if suite not in SUITES:
        raise BenchError(f"There is no suite {suite!r}; there are {', '.join(SUITES)}.")
    known = {experiment.name: experiment for experiment in SUITES[suite]}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}."
            raise BenchError(f"The suite {suite} has no experiment {name!r}; {hint}")
    return [known[name] for name in names] if names else list(known.values())


def _arguments() -> list[str]:
    """What the user typed behind `mattebox bench`."""
    given = sys.argv[1:]
    return given[given.index("bench") + 1 :] if "bench" in given else given
