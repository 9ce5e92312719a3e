"""The synthetic world: moving shapes with exact ground truth (frames, masks, flow, captions, true edits)."""

from mattebox_backend.world.captions import CaptionForm, background_phrase, caption, object_phrase
from mattebox_backend.world.edits import (
    ChangeBackground,
    Rebloom,
    Recolour,
    Remove,
    RemovePart,
    Reshape,
    Resize,
    Restyle,
    SceneEdit,
    SetPart,
    Swap,
    edit_scene,
)
from mattebox_backend.world.errors import InvalidScene
from mattebox_backend.world.render import Rendered, render, render_frame
from mattebox_backend.world.sampling import SceneOptions, sample_scene
from mattebox_backend.world.scene import (
    Background,
    Bloom,
    Motion,
    Part,
    Pose,
    Scene,
    SceneObject,
    scene_from_json,
)
from mattebox_backend.world.vocabulary import BackgroundColour, Colour, MotionKind, PartKind, Pattern, Shape

__all__ = [
    "Background",
    "BackgroundColour",
    "Bloom",
    "CaptionForm",
    "ChangeBackground",
    "Colour",
    "InvalidScene",
    "Motion",
    "MotionKind",
    "Part",
    "PartKind",
    "Pattern",
    "Pose",
    "Rebloom",
    "Recolour",
    "Remove",
    "RemovePart",
    "Rendered",
    "Reshape",
    "Resize",
    "Restyle",
    "Scene",
    "SceneEdit",
    "SceneObject",
    "SceneOptions",
    "SetPart",
    "Shape",
    "Swap",
    "background_phrase",
    "caption",
    "edit_scene",
    "object_phrase",
    "render",
    "render_frame",
    "sample_scene",
    "scene_from_json",
]
