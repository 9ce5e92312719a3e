"""Suites: the experiments of the papers, as runs over the tasks, and the orderings that should come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from mattebox_backend.bench.running import ABLATIONS
from mattebox_backend.bench.tasks import Level
from mattebox_backend.methods.parameters import ParameterValue

Params = Mapping[str, ParameterValue]

Place = tuple[str, str]
"""A variant, and a figure of it."""


@dataclass(frozen=True, slots=True)
class Ordering:
    """A claim: `figure` grows (or, where not `rising`, falls) from each variant to the next. at_least: equal
    is enough.
    """

    figure: str
    variants: tuple[str, ...]
    rising: bool = True
    at_least: bool = False

    @property
    def places(self) -> tuple[Place, ...]:
        """What is held against each other, each against the next."""
        return tuple((variant, self.figure) for variant in self.variants)

    @property
    def words(self) -> str:
        """As the page says it."""
        return f"{self.figure}: " + _chain(self.variants, self.rising, self.at_least)


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

    source: paper and table or figure. level, tasks: of the list. params: of every variant. reconstruct: the
    task is to give the source back (its prompts for the edit's), and is held against the source.
    sensitivity: every task is rendered once more with masks that are dilated by so many pixels, for the
    figures of eq. 6.5; 0 does not. frames: clips are cut to so many; None leaves them whole.
    """

    name: str
    title: str
    source: str
    method: str
    level: Level | None
    tasks: int
    variants: Mapping[str, Params]
    orderings: tuple[Claim, ...]
    figures: tuple[str, ...]
    params: Params = field(default_factory=dict)
    reconstruct: bool = False
    backbone: str = "pocket-sd"
    sensitivity: int = 0
    frames: int | None = None


_FREE: Final[Params] = {"preserve": False}
"""The composite would hide what a method does to the background."""

_ST_MODULATOR = Experiment(
    name="st-modulator-table-3",
    title="Layout-guided attention: cross and self modulation",
    source="ST-Modulator, table 3",
    method="st-modulator",
    level=Level.INSTANCE,
    tasks=20,
    variants={
        "baseline": ABLATIONS["st-modulator"]["blend"],
        "+ cross": ABLATIONS["st-modulator"]["cross"],
        "+ cross + self": ABLATIONS["st-modulator"]["cross+self"],
    },
    orderings=(
        Ordering("clip_t", ("baseline", "+ cross", "+ cross + self")),
        Ordering("q_edit", ("baseline", "+ cross", "+ cross + self")),
        Ordering("accuracy", ("baseline", "+ cross", "+ cross + self")),
        Ordering("warp", ("baseline", "+ cross", "+ cross + self"), rising=False),
        Ordering("psnr", ("baseline", "+ cross", "+ cross + self")),
    ),
    figures=("clip_t", "clip_t_region", "clip_f", "q_edit", "accuracy", "placement", "psnr", "warp", "leak"),
)
_REATCO = Experiment(
    name="reatco-table-2",
    title="Re-attention and invariant-region sampling",
    source="ReAtCo, table 2",
    method="reatco",
    level=Level.INSTANCE,
    tasks=12,
    params=_FREE,
    variants={
        "neither": {"reattention": False, "invariant": False},
        "RAD": {"invariant": False},
        "IRJS": {"reattention": False},
        "both": {},
    },
    orderings=(
        Ordering("placement", ("neither", "RAD")),
        Ordering("accuracy", ("neither", "RAD")),
        Ordering("clip_t", ("neither", "RAD")),
        Ordering("background_psnr", ("neither", "IRJS")),
        Ordering("placement", ("IRJS", "both")),
        Ordering("accuracy", ("RAD", "both"), at_least=True),
        Ordering("accuracy", ("IRJS", "both")),
    ),
    figures=(
        "accuracy",
        "placement",
        "clip_t",
        "clip_t_region",
        "clip_f",
        "psnr",
        "background_psnr",
        "boundary",
        "warp",
    ),
    frames=8,
)
_TOP_K = Experiment(
    name="reatco-figure-7",
    title="The share of responses that count",
    source="ReAtCo, figure 7",
    method="reatco",
    level=Level.INSTANCE,
    tasks=8,
    params=_FREE,
    variants={f"{share:.0%}": {"top_share": share} for share in (0.2, 0.4, 0.6, 0.8, 1.0)},
    orderings=tuple(
        Ordering("placement", (f"{share:.0%}", "20%"), at_least=True) for share in (0.4, 0.6, 0.8, 1.0)
    ),
    figures=("placement", "accuracy", "clip_t", "psnr"),
    frames=8,
)
_RECONSTRUCTION = Experiment(
    name="videodirector-figures-8-9",
    title="Reconstruction: null-text embeddings and decoupled guidance",
    source="VideoDirector, figures 8 and 9",
    method="videodirector",
    level=Level.CLASS,
    tasks=4,
    params={**_FREE, "cross_control": "off", "self_first": False, "self_second": False},
    variants={
        "DDIM": {"inner_steps": 0, "decoupled": False},
        "shared null-text": {"multi_frame": False, "decoupled": False},
        "multi-frame null-text": {"decoupled": False},
        "+ guidance": {},
    },
    orderings=(Ordering("whole_psnr", ("DDIM", "shared null-text", "multi-frame null-text", "+ guidance")),),
    figures=("whole_psnr", "background_psnr", "background_perceptual", "smoothness", "unsteadiness"),
    reconstruct=True,
    backbone="pocket-motion",
    frames=8,
)
_EDITING = Experiment(
    name="videodirector-figure-7",
    title="Editing without each part",
    source="VideoDirector, table 1 and figure 7",
    method="videodirector",
    level=Level.CLASS,
    tasks=4,
    params=_FREE,
    variants={
        "whole": {},
        "shared null-text": {"multi_frame": False},
        "no guidance": {"decoupled": False},
        "no cross control": {"cross_control": "off"},
        "no SA-I": {"self_first": False},
        "no SA-II": {"self_second": False},
        "no self control": {"self_first": False, "self_second": False},
    },
    orderings=(
        *(
            Ordering("background_psnr", (without, "whole"))
            for without in ("shared null-text", "no guidance", "no SA-I", "no SA-II", "no self control")
        ),
        Ordering("accuracy", ("no cross control", "whole")),
    ),
    figures=(
        "accuracy",
        "clip_t",
        "background_psnr",
        "background_perceptual",
        "psnr",
        "boundary",
        "warp",
        "smoothness",
    ),
    backbone="pocket-motion",
    frames=8,
)
_REGION_AWARE = Experiment(
    name="region-aware-6.6",
    title="The mask in sampling, against editing everything and blending",
    source="Region-aware diffusion, eqs. 6.2 and 6.6",
    method="roi-aware",
    level=Level.CLASS,
    tasks=12,
    variants={
        "edit and blend": ABLATIONS["roi-aware"]["global edit, then blend"],
        "region-aware, no routing": {"routing": 0.0},
        "region-aware": ABLATIONS["roi-aware"]["region-aware"],
        "+ bias": {"self_inside": 1.0, "self_outwards": -1.0, "self_inwards": -1.0},
        "+ boundary smoothing": {"boundary_smoothing": 6.0},
    },
    orderings=(
        Ordering("boundary", ("edit and blend", "region-aware"), rising=False),
        Ordering("accuracy", ("edit and blend", "region-aware"), at_least=True),
    ),
    figures=("accuracy", "boundary", "psnr", "warp", "gradient_region"),
    frames=8,
)
_TRAINED = replace(
    _REGION_AWARE,
    name="region-aware-trained",
    title="The same on a model that was trained with the mask",
    source="Region-aware diffusion, sections 3 and 5, eqs. 6.2 and 6.6",
    variants={name: _REGION_AWARE.variants[name] for name in ("edit and blend", "region-aware")},
    backbone="pocket-roi",
)
_SMOOTHINGS: Final = ("none", "3 pixels", "6 pixels")
_SENSITIVITY = Experiment(
    name="region-aware-6.5",
    title="How much hangs on the exact mask, and what boundary smoothing does to it",
    source="Region-aware diffusion, eqs. 6.3 to 6.5",
    method="roi-aware",
    level=Level.CLASS,
    tasks=8,
    variants={
        name: {"boundary_smoothing": pixels}
        for name, pixels in zip(_SMOOTHINGS, (0.0, 3.0, 6.0), strict=True)
    },
    orderings=(
        *(FigureOrdering(name, ("sensitivity_away", "sensitivity_near")) for name in _SMOOTHINGS),
        Ordering("sensitivity_near", _SMOOTHINGS, rising=False),
        Ordering("sensitivity", _SMOOTHINGS, rising=False),
    ),
    figures=(
        "sensitivity",
        "sensitivity_near",
        "sensitivity_away",
        "spread_region",
        "spread_background",
        "accuracy",
        "boundary",
    ),
    sensitivity=2,
    frames=8,
)

SUITES: Final[Mapping[str, tuple[Experiment, ...]]] = MappingProxyType(
    {
        "papers": (
            _ST_MODULATOR,
            _REATCO,
            _TOP_K,
            _RECONSTRUCTION,
            _EDITING,
            _REGION_AWARE,
            _TRAINED,
            _SENSITIVITY,
        )
    }
)
"""By the name that `--suite` takes."""
