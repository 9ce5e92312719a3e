"""What an edit file may say, as pydantic models, from which the JSON schema follows."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

FRAME_NUMBER = re.compile(r"%(0\d+)?d")

Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Four = tuple[Number, Number, Number, Number]
FrameIndex = Annotated[int, Field(ge=0, strict=True)]
Pixels = Annotated[int, Field(ge=0, le=16384, strict=True)]
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
Method = Literal["st-modulator", "reatco", "videodirector", "mask-lora", "roi-aware", "custom"]
Fit = Literal["cover", "contain"]
Value = Annotated[bool, Field(strict=True)] | Annotated[int, Field(strict=True)] | Number | str


def _one_frame_number(pattern: str | None) -> str | None:
    if pattern is not None and "%" in pattern and len(FRAME_NUMBER.findall(pattern)) != pattern.count("%"):
        raise ValueError("has a % that is no frame number; write the number as %d or %04d")
    if pattern is not None and pattern.count("%") > 1:
        raise ValueError("has more than one frame number")
    return pattern


Pictures = Annotated[Text, AfterValidator(_one_frame_number)]
"""The path of one picture, or of one per frame with the frame number of the source in its name."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)


class Keyframe(_Table):
    """Where a shape is at one frame of the source; between keyframes it moves in a straight line."""

    frame: FrameIndex = Field(description="Frame of the source, from 0.")
    value: Four = Field(description="The four numbers of the shape, in pixels.")


Shape = Four | Annotated[list[Keyframe], Field(min_length=1)]


class RegionSpec(_Table):
    """A named area over time. Exactly one of `mask`, `box` and `ellipse` says where it is."""

    name: Text = Field(description="What the region is called; unique in the file.")
    prompt: str = Field(
        default="",
        description="What should be there. Every method but mask-lora needs it, which is shown references.",
    )
    mask: Pictures | None = Field(
        default=None,
        description="A still picture for every frame, or one per frame with the source's frame "
        "number in the name, such as masks/%04d.png. White is edited, black is kept.",
    )
    box: Shape | None = Field(
        default=None,
        description="[x, y, width, height] in pixels of the source, or keyframes "
        "[{frame = 0, value = [x, y, width, height]}, …] that interpolate linearly.",
    )
    ellipse: Shape | None = Field(
        default=None,
        description="[center x, center y, radius x, radius y] in pixels of the source, or keyframes of them.",
    )
    mode: Literal["tight", "ellipse", "box", "dilated"] = Field(
        default="tight",
        description="How the mask is widened: not at all, to the ellipse or the box around each component, "
        "or by `dilation` pixels.",
    )
    dilation: Pixels = Field(default=0, description='Pixels by which `mode = "dilated"` grows the mask.')
    feather: Pixels = Field(default=0, description="Width of the soft edge in pixels of the source.")
    order: int = Field(default=0, ge=-(2**31), lt=2**31, strict=True, description="Higher lies on top.")
    words: list[Text] = Field(
        default_factory=list,
        description="The words of the prompts that mean this region; absent: found from its prompt.",
    )
    color: str = Field(
        default="", pattern="^(#[0-9a-fA-F]{6})?$", description='For display, such as "#ff8800".'
    )

    @field_validator("box", "ellipse")
    @classmethod
    def _sizes_are_positive(cls, shape: Shape | None) -> Shape | None:
        frames: list[int] = []
        for value in [shape] if isinstance(shape, tuple) else [key.value for key in shape or []]:
            if value[2] <= 0 or value[3] <= 0:
                raise ValueError(f"has the size {value[2]:g} by {value[3]:g}; both must be above 0")
        if isinstance(shape, list):
            frames = [key.frame for key in shape]
        if frames != sorted(set(frames)):
            raise ValueError(f"has keyframes at frames {frames}; they must rise, each frame once")
        return shape

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        given = [name for name in ("mask", "box", "ellipse") if getattr(self, name) is not None]
        if len(given) != 1:
            have = "none of them" if not given else " and ".join(given)
            raise ValueError(f"needs exactly one of mask, box and ellipse, it has {have}")
        return self


class ReferenceSpec(_Table):
    """An edited picture of one frame: how a region should look then."""

    frame: FrameIndex = Field(description="Frame of the source, from 0; inside the range.")
    image: Text = Field(
        description="The edited picture, of the source's size unless `fit` is given; where it is "
        "transparent, the source's frame shows through."
    )
    region: Text = Field(description="The name of the region that it shows.")
    fit: Fit | None = Field(
        default=None,
        description="How a picture of another size gets the source's: `cover` scales it until it covers the "
        "frame and crops what sticks out, `contain` scales it into the frame with the source around it. "
        "Absent: it is refused.",
    )


class ControlSpec(_Table):
    """A control that the method custom is mixed from."""

    name: Text = Field(description="Which control, such as layout-attention.")
    params: dict[str, Value] = Field(
        default_factory=dict, description="Its parameters that differ from their defaults."
    )


def _shipped_model(read: dict[str, Any]) -> str:
    """The model that an edit file means which names none; `read`: its fields before the model."""
    return "pocket-wan-i2v" if read.get("method") == "mask-lora" else "pocket-sd"


class EditFile(_Table):
    """An edit: a source, what should change where, and how. Paths are relative to the file."""

    model_config = ConfigDict(title="Mattebox edit file")

    format: Literal[1] = Field(default=1, description="Version of this format.")
    source: Text = Field(description="A video, or an image sequence such as frames/%04d.png.")
    range: tuple[FrameIndex, FrameIndex] | None = Field(
        default=None,
        description="[start, stop] in frames of the source, from 0; stop is not edited. Absent: all of it.",
    )
    prompt: Text = Field(description="What the edited video shows.")
    source_prompt: str = Field(default="", description="What the source shows.")
    method: Method = Field(default="st-modulator", description="The editing method.")
    backbone: Text = Field(
        default_factory=_shipped_model,
        description="The model: a shipped one, a folder in diffusers layout, or a hub id. Absent: the one "
        "that ships for the method, pocket-wan-i2v for mask-lora and pocket-sd for the others.",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, strict=True, description="Same seed, same picture.")
    condition_pictures: Pictures | None = Field(
        default=None,
        description="What a ControlNet reads of each frame (depth, poses, …): a still picture, or one per "
        "frame with the source's frame number in the name, such as depth/%04d.png; of the source's size. "
        'For methods with the parameter condition = "pictures".',
    )
    regions: list[RegionSpec] = Field(alias="region", min_length=1, description="The regions, as [[region]].")
    references: list[ReferenceSpec] = Field(
        alias="reference", default_factory=list, description="The references, as [[reference]]."
    )
    params: dict[str, Value] = Field(
        default_factory=dict, description="The method's parameters that differ from its defaults."
    )
    controls: list[ControlSpec] = Field(
        alias="control",
        default_factory=list,
        description="What the method custom is mixed from, as [[control]], in order.",
    )
    inspect: bool = Field(
        default=False,
        strict=True,
        description="Keep attention per word and the controls' own maps with the take: `mattebox inspect`.",
    )

    @field_validator("range")
    @classmethod
    def _holds_a_frame(cls, span: tuple[int, int] | None) -> tuple[int, int] | None:
        if span is not None and span[1] <= span[0]:
            raise ValueError(f"= [{span[0]}, {span[1]}] holds no frame; stop is the frame after the last one")
        return span

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        for region in self.regions:
            if self.method != "mask-lora" and not region.prompt.strip():
                raise ValueError(f"has no prompt for region {region.name!r}; say what should be there")
        names = [region.name for region in self.regions]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"has two regions named {name!r}; give each its own name")
        ties = [(reference.region, reference.frame) for reference in self.references]
        for shown, frame in ties:
            if ties.count((shown, frame)) > 1:
                raise ValueError(f"has two references of region {shown!r} at frame {frame}; keep one of them")
        for reference in self.references:
            if reference.region not in names:
                raise ValueError(
                    f"has a reference for region {reference.region!r}; "
                    f"its regions are {', '.join(map(repr, names))}"
                )
            if self.range is not None and not self.range[0] <= reference.frame < self.range[1]:
                raise ValueError(
                    f"has a reference at frame {reference.frame}, "
                    f"outside its range [{self.range[0]}, {self.range[1]}]"
                )
        return self
