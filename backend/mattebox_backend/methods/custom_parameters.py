"""The parameters of `custom` and of the controls that it is mixed from; apart from the recipe so that listing
them needs no torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from mattebox_backend.edit import ControlChoice
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.methods.condition_parameters import ConditionParameters
from mattebox_backend.methods.frame_parameters import frames_seen, window_frames, window_stride
from mattebox_backend.methods.parameters import (
    Parameter,
    ParameterValue,
    choice,
    describe,
    integer,
    number,
    parse,
)
from mattebox_backend.methods.reatco_parameters import ReAtCoParameters
from mattebox_backend.methods.roi_aware_parameters import RoiAwareParameters
from mattebox_backend.methods.sampling_parameters import NEVER, SamplingParameters
from mattebox_backend.methods.st_modulator_parameters import StModulatorParameters
from mattebox_backend.methods.videodirector_parameters import VideoDirectorParameters


@dataclass(frozen=True, slots=True)
class CustomParameters(ConditionParameters):
    """What the whole run takes; each control has parameters of its own."""

    frames_seen: str = frames_seen()
    window_frames: int = window_frames()
    window_stride: int = window_stride()
    solver: str = choice(
        "euler", ("euler", "heun"), "How a step follows the prediction: DDIM, or a method of second order."
    )
    start: str = choice(
        "inversion", ("inversion", "noise"), "What sampling begins with: the inversion, or the noised source."
    )
    start_level: float = number(
        NEVER, NEVER, 20.0, "Sampling begins at the first level with at least this log-SNR.", "log-SNR"
    )
    tuning_steps: int = integer(
        0, 0, 5000, "Train a copy of the model on the clip first (Tune-A-Video); 0 does not.", "steps"
    )
    tuning_rate: float = number(3e-5, 1e-7, 1e-2, "Learning rate of that training.")


@dataclass(frozen=True, slots=True)
class ControlKind:
    """A control that `custom` can be given.

    source: the parameters of the method that it comes from; names: those of them that are its own. needs:
    controls that have to be there too.
    """

    name: str
    summary: str
    source: type[Any]
    names: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its parameters, as a client shows them."""
        return tuple(parameter for parameter in describe(self.source) if parameter.name in self.names)

    def parse(self, given: Mapping[str, ParameterValue]) -> Any:
        """The source's parameters with what was given. Raises `InvalidEdit`, also for a sibling's."""
        for name in given:
            if name not in self.names and name in {declared.name for declared in fields(self.source)}:
                takes = ", ".join(self.names) or "none"
                raise InvalidEdit(f"The control {self.name} has no parameter {name!r}; it takes {takes}.")
        return parse(self.source, f"control {self.name}", given)


CONTROLS: Mapping[str, ControlKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            ControlKind(
                "layout-attention",
                "Each region listens to its own words and to itself (ST-Modulator).",
                StModulatorParameters,
                (
                    "lambda_cross",
                    "lambda_self",
                    "lambda_background",
                    "window",
                    "exponent",
                    "sizes",
                    "special_tokens",
                    "token_share",
                ),
            ),
            ControlKind(
                "re-attention",
                "Moves the latents until each region's words draw attention inside it (ReAtCo, RAD).",
                ReAtCoParameters,
                ("step_size", "top_share", "window", "refinements", "map_reduction", "checkpointing"),
            ),
            ControlKind(
                "pivotal-inversion",
                "Fits the empty prompt until the source comes back; a reconstruction runs beside the edit "
                "(VideoDirector, stage 1).",
                VideoDirectorParameters,
                (
                    "inner_steps",
                    "inner_rate",
                    "multi_frame",
                    "decoupled",
                    "temporal_inside",
                    "temporal_outside",
                    "appearance_inside",
                    "appearance_outside",
                    "edited",
                    "ellipse",
                    "checkpointing",
                ),
            ),
            ControlKind(
                "self-attention-control",
                "The edit attends as the reconstruction does, then looks at it (VideoDirector, SA-I, SA-II).",
                VideoDirectorParameters,
                ("self_first", "self_second", "self_window"),
                needs=("pivotal-inversion",),
            ),
            ControlKind(
                "cross-attention-control",
                "Words shared with the source keep its maps (prompt-to-prompt).",
                VideoDirectorParameters,
                ("cross_control", "cross_window", "emphasis"),
                needs=("pivotal-inversion",),
            ),
            ControlKind(
                "edit-mask",
                "A soft mask for the controls that need one, which may move with the edit (ROI-aware).",
                RoiAwareParameters,
                ("mask_reach", "mask_agreement", "mask_conflict"),
            ),
            ControlKind(
                "guidance-field",
                "Guidance over the regions alone, rising as noise falls (ROI-aware).",
                RoiAwareParameters,
                ("guidance_outside", "guidance_share", "guidance_rises_from", "guidance_rises_to"),
                needs=("edit-mask",),
            ),
            ControlKind(
                "region-bias",
                "Self attention biased by region (ROI-aware).",
                RoiAwareParameters,
                ("self_inside", "self_outwards", "self_inwards", "attention_window", "attention_sizes"),
            ),
            ControlKind(
                "region-routing",
                "Cross attention routed to each region's words (ROI-aware).",
                RoiAwareParameters,
                ("routing", "attention_window", "attention_sizes"),
            ),
            ControlKind(
                "preconditioner",
                "Steps weighted by region (ROI-aware).",
                RoiAwareParameters,
                ("weight_inside", "weight_outside"),
                needs=("edit-mask",),
            ),
            ControlKind(
                "latent-blend",
                "Outside the regions every level is the source's inversion.",
                SamplingParameters,
            ),
            ControlKind(
                "invariant-region",
                "Outside the regions every level is the source under noise (ReAtCo, IRJS).",
                SamplingParameters,
            ),
        )
    }
)
"""By name."""

_CLASHES: Mapping[frozenset[str], str] = MappingProxyType(
    {
        frozenset({"latent-blend", "invariant-region"}): "both set what lies outside the regions, each to "
        "something else",
        frozenset(
            {"guidance-field", "pivotal-inversion"}
        ): "the embeddings of a pivotal inversion are fitted "
        "under even guidance and lead nowhere under another",
    }
)


def parse_controls(chosen: Sequence[ControlChoice], p: CustomParameters) -> dict[str, Any]:
    """The parameters of each chosen control by its name, in the order given.

    Raises `InvalidEdit` for no control, an unknown one, one given twice, a wrong parameter, and a mix that
    makes no sense, with the reason.
    """
    if not chosen:
        raise InvalidEdit(
            f"The method custom needs at least one [[control]] in the edit file; there are "
            f"{', '.join(CONTROLS)}."
        )
    parsed: dict[str, Any] = {}
    for control in chosen:
        if control.name not in CONTROLS:
            near = difflib.get_close_matches(control.name, CONTROLS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(CONTROLS)}."
            raise InvalidEdit(f"There is no control {control.name!r}; {hint}")
        if control.name in parsed:
            raise InvalidEdit(f"The control {control.name} is given twice; leave one out.")
        parsed[control.name] = CONTROLS[control.name].parse(control.params)
    _refuse_nonsense(parsed, p)
    return parsed


def _refuse_nonsense(parsed: Mapping[str, Any], p: CustomParameters) -> None:
    for name in parsed:
        for needed in CONTROLS[name].needs:
            if needed not in parsed:
                raise InvalidEdit(f"The control {name} works on that of {needed}; add it.")
    for pair, reason in _CLASHES.items():
        if pair <= parsed.keys():
            first, second = sorted(pair)
            raise InvalidEdit(f"{first} and {second} do not go together: {reason}. Leave one out.")
    layout, sharing = parsed.get("layout-attention"), parsed.get("self-attention-control")
    if layout is not None and layout.lambda_self > 0 and sharing is not None:
        raise InvalidEdit(
            "layout-attention and self-attention-control do not go together: one steers each region to "
            "itself in the very maps that the other replaces. Set lambda_self of layout-attention to 0."
        )
    if p.start == "noise":
        for name in ("latent-blend", "pivotal-inversion"):
            if name in parsed:
                raise InvalidEdit(
                    f"{name} follows the source's inversion, and with start = 'noise' none is made; set "
                    "start to 'inversion', or leave the control out."
                )
    if "pivotal-inversion" in parsed and p.solver == "heun":
        raise InvalidEdit(
            "A pivotal inversion is fitted to DDIM's steps and does not lead back under Heun's; set solver "
            "to 'euler'."
        )
