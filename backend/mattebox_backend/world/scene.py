"""What a scene holds: objects, motions, background. Pure values with a JSON round trip.

Lengths are pixels of the scene's own frame, angles are radians, times are frames. ``x`` grows to the right
and ``y`` downwards.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from math import cos, pi, sin
from typing import TYPE_CHECKING, Any

from mattebox_backend.world.errors import InvalidScene
from mattebox_backend.world.vocabulary import BackgroundColour, Colour, MotionKind, PartKind, Pattern, Shape

if TYPE_CHECKING:
    from mattebox_backend.world.edits import SceneEdit

SCENE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Motion:
    """Path of an object.

    ``velocity`` (pixels per frame) is for LINEAR, ``radius`` (pixels) for ORBIT, ``rate`` (radians per frame)
    for ORBIT, SPIN and PULSE, ``amplitude`` (share of the size) for PULSE, ``phase`` (radians) for ORBIT and
    PULSE.
    """

    kind: MotionKind = MotionKind.STILL
    velocity: tuple[float, float] = (0.0, 0.0)
    radius: float = 0.0
    rate: float = 0.0
    amplitude: float = 0.0
    phase: float = 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """A dot in the middle of an object or a stripe across it."""

    kind: PartKind
    colour: Colour


@dataclass(frozen=True, slots=True)
class Bloom:
    """A change of appearance between two frames: the object grows to ``scale`` and turns to ``colour``."""

    colour: Colour
    scale: float
    start: float
    stop: float

    def progress(self, time: float) -> float:
        """Share of the change that is done at ``time`` (frames), in [0, 1]."""
        if self.stop <= self.start:
            return float(time >= self.start)
        return min(1.0, max(0.0, (time - self.start) / (self.stop - self.start)))


@dataclass(frozen=True, slots=True)
class Pose:
    """Where an object is in one frame: centre (pixels), rotation (radians) and radius (pixels)."""

    x: float
    y: float
    angle: float
    size: float


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object. ``size`` is the radius of its circumscribed circle in pixels; objects later in a scene lie
    on top.
    """

    shape: Shape
    colour: Colour
    x: float
    y: float
    size: float
    angle: float = 0.0
    motion: Motion = Motion()
    part: Part | None = None
    bloom: Bloom | None = None

    def pose(self, time: float, width: int, height: int) -> Pose:
        """Pose at ``time`` (frames) in a frame of ``width`` x ``height`` pixels."""
        x, y, angle, size = self.x, self.y, self.angle, self.size
        motion = self.motion
        if motion.kind is MotionKind.LINEAR:
            x = _bounce(x + motion.velocity[0] * time, self.size, width - self.size)
            y = _bounce(y + motion.velocity[1] * time, self.size, height - self.size)
        elif motion.kind is MotionKind.ORBIT:
            turn = motion.phase + motion.rate * time
            x += motion.radius * (cos(turn) - cos(motion.phase))
            y += motion.radius * (sin(turn) - sin(motion.phase))
        elif motion.kind is MotionKind.SPIN:
            angle += motion.rate * time
        elif motion.kind is MotionKind.PULSE:
            size *= 1.0 + motion.amplitude * sin(motion.phase + motion.rate * time)
        if self.bloom is not None:
            size *= 1.0 + (self.bloom.scale - 1.0) * self.bloom.progress(time)
        return Pose(x, y, angle % (2 * pi), size)

    def colour_at(self, time: float) -> Colour:
        """The colour word that fits at ``time``: the nearer end of a bloom."""
        if self.bloom is not None and self.bloom.progress(time) >= 0.5:
            return self.bloom.colour
        return self.colour


@dataclass(frozen=True, slots=True)
class Background:
    """Colour and pattern behind the objects; ``pan`` is its movement in pixels per frame, ``seed`` draws the
    noise.
    """

    colour: BackgroundColour
    pattern: Pattern = Pattern.PLAIN
    pan: tuple[float, float] = (0.0, 0.0)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """A clip of the world, from which frames, masks, flow and captions follow exactly."""

    objects: tuple[SceneObject, ...]
    background: Background
    width: int = 128
    height: int = 128
    frames: int = 16

    def __post_init__(self) -> None:
        if self.width < 8 or self.height < 8:
            raise InvalidScene(
                f"A scene of {self.width}x{self.height} pixels is too small; use at least 8x8."
            )
        if self.frames < 1:
            raise InvalidScene(f"A scene of {self.frames} frames shows nothing; use at least 1 frame.")
        for index, item in enumerate(self.objects):
            if not item.size > 0:
                raise InvalidScene(f"Object {index} has size {item.size}; use a size above 0 pixels.")

    def with_object(self, index: int, item: SceneObject) -> Scene:
        """The scene with object ``index`` replaced."""
        self.check_object(index)
        return replace(self, objects=(*self.objects[:index], item, *self.objects[index + 1 :]))

    def check_object(self, index: int) -> None:
        """Raise :class:`InvalidScene` when there is no object ``index``."""
        if not 0 <= index < len(self.objects):
            raise InvalidScene(f"The scene has {len(self.objects)} objects, no object {index}; count from 0.")

    def edit(self, *edits: SceneEdit) -> Scene:
        """The true scene after ``edits`` (see :mod:`mattebox_backend.world.edits`)."""
        from mattebox_backend.world.edits import edit_scene  # edits are written in terms of scenes

        return edit_scene(self, edits)

    def to_json(self) -> str:
        """JSON text that :func:`scene_from_json` reads back to an equal scene."""
        return json.dumps({"version": SCENE_VERSION, **asdict(self)}, indent=1)


def scene_from_json(text: str) -> Scene:
    """Read a scene written by :meth:`Scene.to_json`. Raises :class:`InvalidScene` with the cause."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidScene(f"The scene is no valid JSON ({error}); write it with Scene.to_json.") from error
    if not isinstance(data, dict) or data.get("version") != SCENE_VERSION:
        version = data.get("version") if isinstance(data, dict) else None
        raise InvalidScene(f"The scene has version {version!r}; this program reads version {SCENE_VERSION}.")
    try:
        return Scene(
            objects=tuple(_object_from(item) for item in data["objects"]),
            background=_background_from(data["background"]),
            width=int(data["width"]),
            height=int(data["height"]),
            frames=int(data["frames"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidScene(
            f"The scene lacks or misstates a field: {error!r}; compare Scene.to_json."
        ) from error


def _bounce(value: float, low: float, high: float) -> float:
    """Reflect a coordinate at both walls, as often as needed; the middle when there is no room to move."""
    if high <= low:
        return (low + high) / 2
    span = high - low
    folded = (value - low) % (2 * span)
    return low + (folded if folded <= span else 2 * span - folded)


def _object_from(data: dict[str, Any]) -> SceneObject:
    part, bloom, motion = data["part"], data["bloom"], data["motion"]
    return SceneObject(
        shape=Shape(data["shape"]),
        colour=Colour(data["colour"]),
        x=float(data["x"]),
        y=float(data["y"]),
        size=float(data["size"]),
        angle=float(data["angle"]),
        motion=Motion(
            kind=MotionKind(motion["kind"]),
            velocity=_pair(motion["velocity"]),
            radius=float(motion["radius"]),
            rate=float(motion["rate"]),
            amplitude=float(motion["amplitude"]),
            phase=float(motion["phase"]),
        ),
        part=None if part is None else Part(PartKind(part["kind"]), Colour(part["colour"])),
        bloom=None
        if bloom is None
        else Bloom(
            Colour(bloom["colour"]), float(bloom["scale"]), float(bloom["start"]), float(bloom["stop"])
        ),
    )


def _background_from(data: dict[str, Any]) -> Background:
    return Background(
        colour=BackgroundColour(data["colour"]),
        pattern=Pattern(data["pattern"]),
        pan=_pair(data["pan"]),
        seed=int(data["seed"]),
    )


def _pair(values: list[float]) -> tuple[float, float]:
    first, second = values
    return float(first), float(second)
