"""The condition of a text-guided recipe: what a ControlNet reads of every frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mattebox_backend.backbones.conditioned import Condition, Conditioned
from mattebox_backend.backbones.stable_diffusion import StableDiffusion
from mattebox_backend.conditions import edges
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.methods.condition_parameters import ConditionParameters
from mattebox_backend.methods.materials import Materials


def conditioning(materials: Materials, p: ConditionParameters) -> Callable[[Denoiser], Denoiser]:
    """What puts a denoiser under the condition of `p`, or gives it back as it is where there is none.

    Everything that can be refused is refused here and not when it is applied, which may be after a tuning:
    `InvalidEdit` for a condition that cannot be had, and what the model registry raises for the ControlNet.
    """
    if p.condition == "none":
        return lambda denoiser: denoiser
    backbone = _image_model(materials.backbone)
    if not p.controlnet:
        raise InvalidEdit(
            f"A condition needs a ControlNet, and {backbone.name} names none of its own; set the parameter "
            "'controlnet' to a folder or a hub id."
        )
    controlnet = materials.controlnet(p.controlnet)
    controlnet.require_fit(backbone)
    pictures = _pictures(materials, p)

    def under_condition(denoiser: Denoiser) -> Denoiser:
        condition = Condition(pictures, p.controlnet_scale, p.controlnet_window, materials.picture_size)
        conditioned = Conditioned(_image_model(denoiser.backbone), controlnet, condition)
        return dataclasses.replace(denoiser, backbone=conditioned)

    return under_condition


def _pictures(materials: Materials, p: ConditionParameters) -> NDArray[np.uint8]:
    """(F, H, W, 3) uint8 at working size."""
    if p.condition == "edges":
        found = edges(materials.frames(), p.edge_low, p.edge_high)
        return np.repeat(found[..., np.newaxis], 3, axis=-1)
    given = materials.condition_pictures
    if given is None:
        raise InvalidEdit(
            "The condition is 'pictures' and the edit has none; give condition_pictures, or choose 'edges'."
        )
    return given


def _image_model(backbone: object) -> StableDiffusion:
    if not isinstance(backbone, StableDiffusion):
        raise InvalidEdit(
            f"{getattr(backbone, 'name', 'This model')} takes no ControlNet; set condition to 'none'."
        )
    return backbone
