"""The parameters of `mask-lora`, apart from its recipe so that listing them needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from mattebox_backend.lora.told import Told
from mattebox_backend.methods import picture_parameters as picture
from mattebox_backend.methods.parameters import choice, integer, number, switch, text

BY_ITSELF = "by itself"
IN_THE_CLIP = "in the clip"

_TOLD = tuple(str(told) for told in Told)


@dataclass(frozen=True, slots=True)
class MaskLoraParameters:
    """What can be set; defaults are the paper's, for Wan2.1-I2V-14B at 480p (sections 3 and 4.1)."""

    mask_shape: str = choice(
        "box",
        ("box", "ellipse", "noisy", "as drawn"),
        "What is made of the regions' masks: each piece's bounding box, which leaves an edit room to grow, "
        "its ellipse, what a 7×7 grid makes of it, or nothing.",
    )
    mask_growth: float = number(
        0.1, 0.0, 2.0, "The box is grown on every side by this share of its own length there."
    )
    motion_steps: int = integer(100, 0, 10000, "Training on the source: its motion.", "steps")
    colour_augmentation: float = number(
        0.0,
        0.0,
        1.0,
        "The share of those steps that sees the clip with red, green and blue exchanged: learnt is then how "
        "it moves, and the colours are left to the first frame.",
    )
    appearance_steps: int = integer(
        100, 0, 10000, "Training on the references, where there are more than the first frame's.", "steps"
    )
    motion_share: float = number(
        0.0, 0.0, 1.0, "Of those steps, the share that goes on with the source's motion."
    )
    appearance_at: str = choice(
        BY_ITSELF,
        (BY_ITSELF, IN_THE_CLIP),
        "Where a reference is learnt: as a picture by itself (section 3.3.2), or in its place in the clip, "
        "which takes as long as the motion and also teaches when the regions look so.",
    )
    learning_rate: float = number(1e-4, 1e-7, 1.0, "Of AdamW, at every step.")
    draws: int = integer(1, 1, 64, "Draws of noise that a training step averages over.")
    training_shift: float = number(
        1.0, 0.1, 20.0, "Above 1, training sees more of the noisy levels; 1 draws them evenly."
    )
    rank: int = integer(16, 1, 512, "Of the adapter.")
    alpha: float = number(16.0, 0.1, 1024.0, "What the adapter adds is scaled by alpha / rank.")
    feed_forward: bool = switch(True, "Adapt all linear layers of the blocks; off: those of attention.")
    training_window: int = integer(
        -1,
        -1,
        1000,
        "Frames that are learnt from together, in overlapping windows, rounded up to what the model takes; 9 "
        "needs little memory, 0 takes the whole clip, −1 whichever of both the device can hold.",
        "frames",
    )
    token: str = text("sks", "The word that stands for the clip before every prompt; empty: none.")
    continue_from: str = text(
        "", "The id of an adapter to go on from, as a take's report gives it; empty: from the start."
    )
    steps: int = integer(30, 1, 1000, "Noise levels of sampling.", "steps")
    guidance: float = number(5.0, 1.0, 50.0, "Classifier-free guidance scale; 1 is none.")
    negative_prompt: str = text("", "What the guidance points away from.")
    shift: float = number(5.0, 0.1, 20.0, "Above 1, sampling takes longer over the noisy levels.")
    window_frames: int = integer(
        0, 0, 1000, "Frames that are generated together; 0 is what the model was made for.", "frames"
    )
    window_overlap: int = integer(
        5, 1, 999, "Frames of a window that the one before it has made already.", "frames"
    )
    hold_references: bool = switch(
        False, "Also tell the model the references' frames while it generates, rather than only teach them."
    )
    told: str = choice(
        str(Told.REGION),
        _TOLD,
        "What the model is told of the clip, in training and generation (figure 2); the others are for "
        "comparison.",
    )
    appearance_told: str = choice(
        str(Told.REGION),
        (str(Told.REGION), str(Told.FIRST)),
        "What it is told of a reference while it learns it; the first frame, that is all of it, is for "
        "comparison (appendix B.3).",
    )
    latent_blend: bool = switch(
        False,
        "Set the latents outside the regions to the source's after every step (eq. 3), for comparison.",
    )
    blocks_to_swap: int = integer(
        -1,
        -1,
        1000,
        "Blocks of the model that rest in the machine's memory; −1 lets the planner choose.",
    )
    checkpointing: str = choice(
        "auto", ("auto", "on", "off"), "Compute again in training rather than keep; auto as memory asks."
    )
    memory: float = number(
        0.0, 0.0, 1024.0, "What the planner may fill; 0 is what is free on the device.", "GiB"
    )
    feather: int = picture.feather()
    boundary_smoothing: float = picture.boundary_smoothing()
    preserve: bool = picture.preserve()
    size: int = picture.size()
    focus: bool = picture.focus()
    focus_margin: float = picture.focus_margin()
