"""What a training run says about itself: a line per report on the console and in a JSON-lines file."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console


@dataclass(slots=True)
class RunLog:
    """Writes figures of a stage as it runs; ``file`` grows by one JSON object per report."""

    file: Path
    stage: str
    steps: int
    console: Console = field(default_factory=Console)
    _started: float = field(default_factory=time.monotonic)
    _first_step: int | None = None

    def report(self, step: int, **figures: float) -> None:
        """Say where ``step`` stands; from the second report on with the rate and the time left."""
        if self._first_step is None:
            self._first_step, self._started = step, time.monotonic()
        done = step - self._first_step
        line = {"stage": self.stage, "step": step, "of": self.steps, **figures}
        pace = ""
        if done:
            rate = (time.monotonic() - self._started) / done
            line["seconds_per_step"] = rate
            pace = f"{rate:.3f} s/step  {rate * (self.steps - step) / 60:.1f} min left  "
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self.console.print(f"{self.stage} {step}/{self.steps}  {pace}{shown}", highlight=False)
