"""Ways to run a method on a task that are held against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mattebox_backend.bench.errors import BenchError
from mattebox_backend.lora.told import Told
from mattebox_backend.methods.parameters import ParameterValue
from mattebox_backend.methods.sampling_parameters import NEVER

Params = Mapping[str, ParameterValue]


@dataclass(frozen=True, slots=True)
class Variant:
    """params: of the method, beside those of the run. references: the frames of the true edit that a method
    is shown, where it takes references; negative ones count from the end. frames: the clip is cut to so
    many; None: as the run has it.
    """

    params: Params = field(default_factory=dict)
    references: tuple[int, ...] = (0,)
    frames: int | None = None

    def on(self, params: Params) -> Variant:
        """The variant with a run's parameters below its own, as plain values."""
        return replace(self, params={**params, **self.params})

    def shown(self, frames: int) -> list[int]:
        """The references' frames in a clip of so many, each once. Raises `BenchError` for one that lies
        outside.
        """
        for frame in self.references:
            if not -frames <= frame < frames:
                raise BenchError(
                    f"A reference is asked for at frame {frame} and the clip has {frames} frames, 0 to "
                    f"{frames - 1}; choose one of them, or −1 for the last."
                )
        return sorted({frame % frames for frame in self.references})

    def to_json(self) -> dict[str, Any]:
        """JSON values; what is as it always was is not said, so that older results stay good."""
        usual = Variant()
        said: dict[str, Any] = {"params": dict(self.params)}
        if self.references != usual.references:
            said["references"] = list(self.references)
        if self.frames != usual.frames:
            said["frames"] = self.frames
        return said


ABLATIONS: Final[Mapping[str, Mapping[str, Variant]]] = {
    "st-modulator": {
        "blend": Variant({"cross": False, "self_modulation": False, "source_window": NEVER}),
        "blend+source": Variant({"cross": False, "self_modulation": False}),
        "cross": Variant({"cross": True, "self_modulation": False}),
        "cross+self": Variant({"cross": True, "self_modulation": True}),
    },
    "roi-aware": {
        "global edit, then blend": Variant({"integrated": False}),
        "region-aware": Variant({"integrated": True}),
    },
    "mask-lora": {
        "no mask": Variant({"told": str(Told.FIRST)}),
        "feature-level mask": Variant({"told": str(Told.FIRST), "latent_blend": True}),
        "input-level mask": Variant({"told": str(Told.REGION)}),
    },
}
"""For each method, its variants and the parameters that make them; the full method is named last."""
