"""Every method, by its public name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mattebox_backend.errors import UnknownMethod
from mattebox_backend.methods.custom_parameters import CustomParameters
from mattebox_backend.methods.mask_lora_parameters import MaskLoraParameters
from mattebox_backend.methods.parameters import Parameter, ParameterValue, describe, parse
from mattebox_backend.methods.reatco_parameters import ReAtCoParameters
from mattebox_backend.methods.roi_aware_parameters import RoiAwareParameters
from mattebox_backend.methods.st_modulator_parameters import StModulatorParameters
from mattebox_backend.methods.videodirector_parameters import VideoDirectorParameters

FRAME_FAMILIES = ("stable-diffusion", "animatediff", "region-diffusion")
"""Models that see a clip frame by frame, or whole, and whose attention can be steered."""
VIDEO_FAMILIES = ("wan-image-to-video", "hunyuan-video-image-to-video")
"""Models that carry a first frame through a clip, and are told what is known of it."""


@dataclass(frozen=True, slots=True)
class MethodDescription:
    """A method as a client shows it. One that is not `available` is known by name only.

    takes_references: it works from an edit's references, and needs them. families: the model families that
    it runs on, by the names of `ModelEntry.family`.
    """

    name: str
    title: str
    summary: str
    available: bool
    parameters: tuple[Parameter, ...] = ()
    takes_references: bool = False
    families: tuple[str, ...] = FRAME_FAMILIES


@dataclass(frozen=True, slots=True)
class Method:
    """A method of this version: its description, the dataclass of its parameters, and whether it is mixed
    from a list of controls.
    """

    description: MethodDescription
    parameters: type[Any]
    takes_controls: bool = False

    @property
    def on_video_models(self) -> bool:
        """Whether it runs on image-to-video models, and on no other."""
        return self.description.families == VIDEO_FAMILIES

    def parse(
        self,
        given: Mapping[str, ParameterValue],
        model_defaults: Mapping[str, ParameterValue] | None = None,
    ) -> Any:
        """See `parameters.parse`."""
        return parse(self.parameters, self.description.name, given, model_defaults)


_ST_MODULATOR = MethodDescription(
    "st-modulator",
    "Layout-guided attention",
    "A prompt per region, without training: attention is steered so that each region hears only its own.",
    available=True,
    parameters=describe(StModulatorParameters),
)

_REATCO = MethodDescription(
    "reatco",
    "Re-attention",
    "Moves the latents until each region's words draw attention inside it, and keeps the rest invariant.",
    available=True,
    parameters=describe(ReAtCoParameters),
)

_VIDEODIRECTOR = MethodDescription(
    "videodirector",
    "VideoDirector",
    "Edits beside a reconstruction of the source that lends its attention; made for text-to-video models.",
    available=True,
    parameters=describe(VideoDirectorParameters),
)

_ROI_AWARE = MethodDescription(
    "roi-aware",
    "Region-aware diffusion",
    "Lets the region mask take part in every step: in attention, guidance, step sizes and the boundary.",
    available=True,
    parameters=describe(RoiAwareParameters),
)

_MASK_LORA = MethodDescription(
    "mask-lora",
    "Mask-aware LoRA",
    "Carries edited frames through the clip with a small adapter that is trained on it; made for "
    "image-to-video models.",
    available=True,
    parameters=describe(MaskLoraParameters),
    takes_references=True,
    families=VIDEO_FAMILIES,
)

_CUSTOM = MethodDescription(
    "custom",
    "Custom",
    "A mix of controls of one's own choice, listed in the edit file.",
    available=True,
    parameters=describe(CustomParameters),
)

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        _ST_MODULATOR.name: Method(_ST_MODULATOR, StModulatorParameters),
        _REATCO.name: Method(_REATCO, ReAtCoParameters),
        _VIDEODIRECTOR.name: Method(_VIDEODIRECTOR, VideoDirectorParameters),
        _ROI_AWARE.name: Method(_ROI_AWARE, RoiAwareParameters),
        _MASK_LORA.name: Method(_MASK_LORA, MaskLoraParameters),
        _CUSTOM.name: Method(_CUSTOM, CustomParameters, takes_controls=True),
    }
)
"""The methods of this version, by name."""


def describe_methods() -> tuple[MethodDescription, ...]:
    """All methods."""
    return tuple(method.description for method in METHODS.values())


def find_method(name: str) -> Method:
    """The method of a name. Raises `UnknownMethod` for one that is unknown."""
    if name in METHODS:
        return METHODS[name]
    near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"use {', '.join(METHODS)}."
    raise UnknownMethod(f"The method {name!r} is unknown; {hint}")
