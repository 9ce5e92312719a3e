"""The suite “mask-lora”: the ablations and appendices of mask-aware LoRA, and what should come out.

Every edit trains, so that these experiments are small. What trains alike trains once: adapters lie in the
folder of the run, and are found again by other variants and experiments.
"""

from __future__ import annotations

from typing import Any, Final

from mattebox_backend.bench.experiments import Experiment, Ordering
from mattebox_backend.bench.tasks import Level
from mattebox_backend.bench.variants import Params, Variant
from mattebox_backend.lora.told import Told
from mattebox_backend.methods.mask_lora_parameters import BY_ITSELF, IN_THE_CLIP

_MODEL: Final[dict[str, Any]] = {"method": "mask-lora", "backbone": "pocket-wan-i2v", "frames": 17}
_FREE: Final[Params] = {"preserve": False}
"""The composite would hide what a method does to the background."""
_FIRST: Final = str(Told.FIRST)

_MASK = Experiment(
    name="mask-lora-figure-6",
    title="The mask condition, and none",
    source="Mask-aware LoRA, figure 6 and table 1",
    **_MODEL,
    levels=(Level.LOOK, Level.FORM),
    tasks=10,
    variants={
        "no mask": Variant({"told": _FIRST, **_FREE}),
        "mask": Variant(_FREE),
        "mask, composited": Variant(),
    },
    orderings=(
        Ordering("background_psnr", ("no mask", "mask")),
        Ordering("accuracy", ("no mask", "mask"), at_least=True),
        Ordering("input_similarity", ("no mask", "mask")),
        Ordering("clip_first", ("no mask", "mask")),
        Ordering("background_exact", ("mask", "mask, composited")),
    ),
    figures=(
        "accuracy",
        "background_psnr",
        "background_exact",
        "psnr",
        "clip_first",
        "input_similarity",
        "boundary",
        "warp",
        "smoothness",
    ),
    sheet=True,
)

_TOLD: Final = {
    "first frame": Told.FIRST,
    "nothing": Told.NOTHING,
    "everything": Told.EVERYTHING,
    "background": Told.BACKGROUND,
    "first and background": Told.REGION,
}
_TRAINED: Final = "{}, trained"
_MASKS = Experiment(
    name="mask-lora-figure-2",
    title="The masks that a model can be told, before training and after",
    source="Mask-aware LoRA, figure 2 and section 3.3",
    **_MODEL,
    levels=(Level.LOOK,),
    tasks=4,  # of the looks among figure 6's, whose adapters are found again
    params=_FREE,
    variants={
        **{name: Variant({"told": str(told), "motion_steps": 0}) for name, told in _TOLD.items()},
        **{_TRAINED.format(name): Variant({"told": str(told)}) for name, told in _TOLD.items()},
    },
    orderings=(
        Ordering("whole_psnr", ("nothing", "first frame", "everything")),
        *(
            Ordering("kept_psnr", (name, _TRAINED.format(name)))
            for name in ("everything", "background", "first and background")
        ),
        Ordering("accuracy", ("background", _TRAINED.format("first and background"))),
        Ordering("psnr", ("background", _TRAINED.format("first and background"))),
    ),
    figures=("kept_psnr", "background_psnr", "psnr", "whole_psnr", "accuracy", "boundary", "smoothness"),
    reconstruct=True,
    sheet=True,
)

_LEVELS = Experiment(
    name="mask-lora-table-3",
    title="The mask at the input, and at the latents",
    source="Mask-aware LoRA, table 3 and appendix B.1",
    **_MODEL,
    levels=(Level.LOOK, Level.FORM),
    tasks=10,
    params=_FREE,
    variants={
        "feature-level": Variant({"told": _FIRST, "latent_blend": True}),
        "input-level": Variant(),
    },
    orderings=(
        Ordering("accuracy", ("feature-level", "input-level")),
        Ordering("boundary", ("feature-level", "input-level"), rising=False),
        Ordering("input_similarity", ("feature-level", "input-level")),
        Ordering("clip_first", ("feature-level", "input-level")),
    ),
    figures=("accuracy", "boundary", "input_similarity", "clip_first", "psnr", "background_psnr", "warp"),
)

_QUALITY = Experiment(
    name="mask-lora-b2",
    title="Masks from tight to loose",
    source="Mask-aware LoRA, appendix B.2",
    **_MODEL,
    levels=(Level.FORM,),
    tasks=6,
    variants={
        "tight": Variant({"mask_shape": "as drawn"}),
        "noisy": Variant({"mask_shape": "noisy"}),
        "box": Variant(),
    },
    orderings=tuple(
        Ordering(figure, ("tight", "noisy", "box"), at_least=True) for figure in ("psnr", "accuracy")
    ),
    figures=("psnr", "accuracy", "colour", "shape", "perceptual", "clip_first", "warp"),
    sheet=True,
)

_LATE: Final = (0, -1)
_SCHEDULING = Experiment(
    name="mask-lora-b3",
    title="The mask while an appearance is learnt",
    source="Mask-aware LoRA, appendix B.3",
    **_MODEL,
    levels=(Level.BLOOM,),
    tasks=6,
    params={"appearance_at": BY_ITSELF},
    variants={
        "no reference": Variant(),
        "no scheduling": Variant({"appearance_told": _FIRST}, _LATE),
        "scheduling": Variant(references=_LATE),
    },
    orderings=(
        Ordering("end_accuracy", ("no scheduling", "scheduling")),
        Ordering("end_psnr", ("no scheduling", "scheduling")),
        Ordering("end_psnr", ("no reference", "scheduling")),
    ),
    figures=("end_accuracy", "end_psnr", "accuracy", "psnr", "perceptual", "clip_first"),
)

_REFERENCES = Experiment(
    name="mask-lora-figure-7",
    title="The first frame alone, and a reference at the end",
    source="Mask-aware LoRA, figures 1 and 7",
    **_MODEL,
    levels=(Level.BLOOM,),
    tasks=6,
    variants={
        "first frame": Variant(),
        "+ last frame by itself": Variant({"appearance_at": BY_ITSELF}, _LATE),
        "+ last frame": Variant({"appearance_at": IN_THE_CLIP}, _LATE),
        "+ middle and last": Variant({"appearance_at": IN_THE_CLIP}, (0, 8, -1)),
        "+ last frame, told too": Variant({"appearance_at": IN_THE_CLIP, "hold_references": True}, _LATE),
    },
    orderings=(
        Ordering("end_accuracy", ("first frame", "+ last frame")),
        Ordering("end_psnr", ("first frame", "+ last frame")),
        Ordering("end_psnr", ("+ last frame by itself", "+ last frame")),
        Ordering("accuracy", ("first frame", "+ last frame")),
        Ordering("psnr", ("first frame", "+ last frame", "+ middle and last")),
    ),
    figures=("end_accuracy", "end_psnr", "accuracy", "psnr", "perceptual", "warp"),
    sheet=True,
)

_LENGTHS: Final = (5, 13, 21, 49)
_SCALING = Experiment(
    name="mask-lora-b4",
    title="Clips of growing length",
    source="Mask-aware LoRA, appendix B.4",
    **_MODEL,
    levels=(Level.LOOK,),
    tasks=3,
    variants={f"{frames} frames": Variant(frames=frames) for frames in _LENGTHS},
    orderings=tuple(
        Ordering(figure, ("5 frames", f"{frames} frames"), at_least=True, within=0.05)
        for figure in ("clip_first", "accuracy")
        for frames in _LENGTHS[1:]
    ),
    figures=("clip_first", "accuracy", "psnr", "clip_f", "warp"),
)

_WINDOWS = Experiment(
    name="mask-lora-figure-13",
    title="Training on the whole clip, and on windows of nine frames",
    source="Mask-aware LoRA, appendix C.1 and figure 13",
    **_MODEL,
    levels=(Level.LOOK, Level.FORM),
    tasks=8,
    variants={"whole clip": Variant({"training_window": 0}), "windows of 9": Variant({"training_window": 9})},
    orderings=(
        Ordering("accuracy", ("whole clip", "windows of 9"), at_least=True, within=0.05),
        Ordering("clip_first", ("whole clip", "windows of 9"), at_least=True, within=0.05),
        Ordering("psnr", ("whole clip", "windows of 9"), at_least=True, within=1.0),
    ),
    figures=("accuracy", "clip_first", "psnr", "boundary", "clip_f", "warp", "smoothness"),
)

_COLOURS = Experiment(
    name="mask-lora-colours",
    title="Motion learnt in the clip's own colours, and in others too",
    source="not in the papers: `colour_augmentation`",
    **_MODEL,
    levels=(Level.LOOK, Level.FORM),
    tasks=10,
    variants={
        "own colours": Variant({"colour_augmentation": 0.0}),
        "others too": Variant({"colour_augmentation": 0.5}),
    },
    orderings=tuple(
        Ordering(figure, ("own colours", "others too")) for figure in ("accuracy", "psnr", "clip_first")
    ),
    figures=("accuracy", "colour", "shape", "psnr", "end_psnr", "clip_first", "boundary", "warp"),
    sheet=True,
)

MASK_LORA: Final = (
    _MASK,
    _MASKS,
    _LEVELS,
    _QUALITY,
    _SCHEDULING,
    _REFERENCES,
    _COLOURS,
    _SCALING,
    _WINDOWS,
)
