"""The parameters of a method whose frames can be put under a ControlNet."""

from __future__ import annotations

from dataclasses import dataclass

from mattebox_backend.conditions import HIGH, LOW
from mattebox_backend.methods.parameters import choice, number, text
from mattebox_backend.methods.sampling_parameters import SamplingParameters


@dataclass(frozen=True, slots=True)
class ConditionParameters(SamplingParameters):
    """What a ControlNet reads, which one it is, and how long it is heard."""

    condition: str = choice(
        "none",
        ("none", "edges", "pictures"),
        "What a ControlNet reads of every frame, in inversion and sampling alike: nothing, the edges of the "
        "source, or the condition pictures of the edit.",
    )
    controlnet: str = text(
        "", "The ControlNet: a name, a folder in diffusers layout or a hub id; empty: the model's own."
    )
    controlnet_scale: float = number(1.0, 0.0, 10.0, "Strength of what the ControlNet adds.")
    controlnet_window: float = number(
        20.0,
        -20.0,
        20.0,
        "The ControlNet is heard while the noise level is at or below this log-SNR, as felt at 512×512.",
        "log-SNR",
    )
    edge_low: float = number(LOW, 0.0, 1530.0, "Canny's lower threshold: an edge goes on from here.")
    edge_high: float = number(HIGH, 0.0, 1530.0, "Canny's upper threshold: an edge begins from here.")
