"""The suite “papers”: the experiments of four papers on methods that steer an image model, and the orderings
that should come out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from mattebox_backend.bench.experiments import Experiment, FigureOrdering, Ordering
from mattebox_backend.bench.tasks import Level
from mattebox_backend.bench.variants import ABLATIONS, Params, Variant

_FREE: Final[Params] = {"preserve": False}
"""The composite would hide what a method does to the background."""

_ST_MODULATOR = Experiment(
    name="st-modulator-table-3",
    title="Layout-guided attention: cross and self modulation",
    source="ST-Modulator, table 3",
    method="st-modulator",
    levels=(Level.INSTANCE,),
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
    levels=(Level.INSTANCE,),
    tasks=12,
    params=_FREE,
    variants={
        "neither": Variant({"reattention": False, "invariant": False}),
        "RAD": Variant({"invariant": False}),
        "IRJS": Variant({"reattention": False}),
        "both": Variant(),
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
    levels=(Level.INSTANCE,),
    tasks=8,
    params=_FREE,
    variants={f"{share:.0%}": Variant({"top_share": share}) for share in (0.2, 0.4, 0.6, 0.8, 1.0)},
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
    levels=(Level.CLASS,),
    tasks=4,
    params={**_FREE, "cross_control": "off", "self_first": False, "self_second": False},
    variants={
        "DDIM": Variant({"inner_steps": 0, "decoupled": False}),
        "shared null-text": Variant({"multi_frame": False, "decoupled": False}),
        "multi-frame null-text": Variant({"decoupled": False}),
        "+ guidance": Variant(),
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
    levels=(Level.CLASS,),
    tasks=4,
    params=_FREE,
    variants={
        "whole": Variant(),
        "shared null-text": Variant({"multi_frame": False}),
        "no guidance": Variant({"decoupled": False}),
        "no cross control": Variant({"cross_control": "off"}),
        "no SA-I": Variant({"self_first": False}),
        "no SA-II": Variant({"self_second": False}),
        "no self control": Variant({"self_first": False, "self_second": False}),
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
    levels=(Level.CLASS,),
    tasks=12,
    variants={
        "edit and blend": ABLATIONS["roi-aware"]["global edit, then blend"],
        "region-aware, no routing": Variant({"routing": 0.0}),
        "region-aware": ABLATIONS["roi-aware"]["region-aware"],
        "+ bias": Variant({"self_inside": 1.0, "self_outwards": -1.0, "self_inwards": -1.0}),
        "+ boundary smoothing": Variant({"boundary_smoothing": 6.0}),
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
    levels=(Level.CLASS,),
    tasks=8,
    variants={
        name: Variant({"boundary_smoothing": pixels})
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

PAPERS: Final = (
    _ST_MODULATOR,
    _REATCO,
    _TOP_K,
    _RECONSTRUCTION,
    _EDITING,
    _REGION_AWARE,
    _TRAINED,
    _SENSITIVITY,
)
