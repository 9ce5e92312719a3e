"""The file that a benchmark's figures are kept in while it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mattebox_backend.bench.errors import UnusableResults
from mattebox_backend.pocket.checkpoint import write_atomically

RESULTS_VERSION: Final = 4


@dataclass(frozen=True, slots=True)
class Results:
    """Figures of one run, or of one experiment among those of a suite, in a JSON file that is replaced after
    every task.
    """

    file: Path
    experiment: str = ""

    def resume(self, key: Mapping[str, Any]) -> dict[str, Any]:
        """What the file holds of the run that `key` describes; fresh where it holds nothing.

        Raises `UnusableResults` where the file cannot be read, or holds another run.
        """
        fresh: dict[str, Any] = {"version": RESULTS_VERSION, "run": dict(key), "variants": {}}
        data = self._read()
        if self.experiment:
            data = data.get("experiments", {}).get(self.experiment, {}) if data else {}
        if not data:
            return fresh
        if data.get("run") != key or data.get("version") != RESULTS_VERSION:
            raise UnusableResults(
                f"The results {self.file} belong to another run (method, weights, scorer, parameters, "
                "device or tasks); name another file."
            )
        return data

    def of_variant(self, data: dict[str, Any], name: str, variant: Mapping[str, Any]) -> dict[str, Any]:
        """The figures by task, in `data`, of a variant as JSON values; a new one gets a place there.

        Raises `UnusableResults` where the figures under its name are those of another.
        """
        held: dict[str, Any] = data["variants"].setdefault(name, {**variant, "tasks": {}})
        if {key: value for key, value in held.items() if key != "tasks"} != variant:
            raise UnusableResults(
                f"The results {self.file} hold {name!r} under other parameters; name another file."
            )
        tasks: dict[str, Any] = held["tasks"]
        return tasks

    def keep(self, data: Mapping[str, Any]) -> None:
        """Put the run's figures into the file; those of other experiments stay."""
        if self.experiment:
            whole = self._read() or {"version": RESULTS_VERSION, "experiments": {}}
            whole.setdefault("experiments", {})[self.experiment] = data
            data = whole
        write_atomically(self.file, (json.dumps(data, indent=1) + "\n").encode())

    def _read(self) -> dict[str, Any]:
        if not self.file.exists():
            return {}
        try:
            data = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UnusableResults(
                f"The results {self.file} cannot be read ({error}); name another file."
            ) from error
        if not isinstance(data, dict) or bool(self.experiment) != ("experiments" in data):
            what = "of a suite" if self.experiment else "of one run"
            raise UnusableResults(f"The results {self.file} are not those {what}; name another file.")
        return data
