"""A clip of two moving squares, an edit of it, and everything else that a render needs around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mattebox_backend.backbones.controlnet import ControlNet
from mattebox_backend.backbones.protocol import Backbone
from mattebox_backend.backbones.video_protocol import VideoBackbone
from mattebox_backend.device import Device
from mattebox_backend.edit import Edit, Reference, Region
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.render import RenderPaths, Report, Stage, render
from mattebox_media import open_clip, write_clip
from numpy.typing import NDArray

CPU = Device("cpu", 0, "float32")


def moving_squares(frames: int, height: int, width: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Frames (F, H, W, 3) uint8 of two squares over noise, and the masks (2, F, H, W) of the squares."""
    rng = np.random.default_rng(5)
    clip = np.repeat(rng.integers(60, 120, (1, height, width, 3), np.uint8), frames, axis=0)
    masks = np.zeros((2, frames, height, width), np.uint8)
    side = min(height, width) // 3
    for index in range(frames):
        for region, (left, colour) in enumerate(
            ((2 + index, (200, 30, 30)), (width // 2 + index, (30, 30, 200)))
        ):
            area = (index, slice(height // 4, height // 4 + side), slice(left, left + side))
            clip[area] = colour
            masks[(region, *area)] = 255
    return clip, masks


@dataclass
class Monitor:
    """Remembers what it was told; raises `stop` when `stop_at` (stage, step) comes."""

    stop_at: tuple[Stage, int] | None = None
    stop: type[BaseException] = KeyboardInterrupt
    told: list[tuple[Stage, int, int]] = field(default_factory=list)
    previews: list[NDArray[np.uint8]] = field(default_factory=list)
    figures: list[tuple[str, int, int, float]] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)

    def progress(self, stage: Stage, step: int, of: int, preview: NDArray[np.uint8] | None = None) -> None:
        self.told.append((stage, step, of))
        if preview is not None:
            self.previews.append(preview)
        if (stage, step) == self.stop_at:
            raise self.stop

    def figure(self, name: str, step: int, of: int, value: float) -> None:
        self.figures.append((name, step, of, value))

    def log(self, message: str) -> None:
        self.logged.append(message)


@dataclass
class Loaded:
    """A model registry that holds one loaded model."""

    backbone: Any

    def load(self, backbone_id: str, device: Device) -> Backbone:
        return self.backbone

    def load_video(self, backbone_id: str, device: Device) -> VideoBackbone:
        return self.backbone

    def load_controlnet(self, name: str, device: Device) -> ControlNet:
        return ModelRegistry().load_controlnet(name, device)


@dataclass
class Studio:
    """Renders edits of one clip, in folders of its own."""

    backbone: Backbone
    paths: RenderPaths
    clip: Path
    edit: Edit

    def render(self, monitor: Monitor | None = None, **changes: Any) -> tuple[NDArray[Any], Report]:
        frames: list[NDArray[Any]] = []
        report = render(
            replace(self.edit, **changes),
            models=Loaded(self.backbone),
            device=CPU,
            paths=self.paths,
            monitor=monitor or Monitor(),
            write=frames.extend,
        )
        return np.stack(frames), report

    @property
    def source(self) -> NDArray[Any]:
        with open_clip(self.clip) as reader:
            return np.stack(list(reader.frames(self.edit.start, self.edit.stop)))


@pytest.fixture
def studio_of(backbone: Backbone, tmp_path: Path) -> Callable[..., Studio]:
    """Builds a studio with a lossless clip of a size and an edit of its first frames."""

    def build(frames: int = 3, height: int = 64, width: int = 64, name: str = "clip.mkv") -> Studio:
        clip, masks = moving_squares(frames + 1, height, width)
        path = tmp_path / name
        write_clip(path, iter(clip), fps=Fraction(8))
        regions = (
            Region("left", "a blue circle", masks[0, :frames]),
            Region("right", "a green square", masks[1, :frames], feather=2),
        )
        edit = Edit(
            clip=path,
            clip_hash="",
            start=0,
            stop=frames,
            prompt="a blue circle and a green square on a gray background",
            source_prompt="a red square and a blue square on a gray background",
            method="st-modulator",
            backbone="tiny-sd",
            seed=1,
            regions=regions,
            references=(),
            params={"steps": 6, "window": 0.0, "exponent": 0.0, "sizes": 1},
        )
        paths = RenderPaths(tmp_path / "inversions", tmp_path / "job", tmp_path / "adapters")
        return Studio(backbone, paths, path, edit)

    return build


@pytest.fixture
def studio(studio_of: Callable[..., Studio]) -> Iterator[Studio]:
    """Three frames of 64×64."""
    return studio_of()


@pytest.fixture
def video_studio(wan: VideoBackbone, studio_of: Callable[..., Studio]) -> Studio:
    """Nine frames of 64×64 on the tiny Wan, with an edited first frame, and steps enough to see them."""
    studio = studio_of(frames=9)
    source = studio.source
    first = source[0].copy()
    first[studio.edit.regions[0].masks[0] > 0] = (30, 200, 30)
    studio.backbone = wan
    studio.edit = replace(
        studio.edit,
        method="mask-lora",
        backbone="tiny-wan",
        regions=studio.edit.regions[:1],
        references=(Reference(0, first, "left"),),
        params={"motion_steps": 3, "appearance_steps": 2, "steps": 3, "rank": 2, "size": 64},
    )
    return studio


@pytest.fixture
def render_monitor() -> type[Monitor]:
    """The monitor's class, to be built with where it should stop."""
    return Monitor


@pytest.fixture
def full_size_model() -> Callable[[Path], Path]:
    """Builds a folder with the networks of Stable Diffusion 1.5, weights random and in bfloat16 (2 GB)."""

    def build(folder: Path) -> Path:
        import torch
        from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        torch.manual_seed(0)
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            UNet2DConditionModel(sample_size=64, cross_attention_dim=768).save_pretrained(folder / "unet")
            AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                block_out_channels=(128, 256, 512, 512),
                layers_per_block=2,
                sample_size=512,
            ).save_pretrained(folder / "vae")
            letters = list(bytes_to_unicode().values())
            vocabulary = [
                *letters,
                *(letter + "</w>" for letter in letters),
                "<|startoftext|>",
                "<|endoftext|>",
            ]
            tokenizer = CLIPTokenizer(
                vocab={token: index for index, token in enumerate(vocabulary)}, merges=[], model_max_length=77
            )
            CLIPTextModel(
                CLIPTextConfig(
                    hidden_size=768,
                    intermediate_size=3072,
                    num_hidden_layers=12,
                    num_attention_heads=12,
                    bos_token_id=tokenizer.bos_token_id,
                    eos_token_id=tokenizer.eos_token_id,
                    pad_token_id=tokenizer.pad_token_id,
                )
            ).save_pretrained(folder / "text_encoder")
        finally:
            torch.set_default_dtype(default)
        tokenizer.save_pretrained(folder / "tokenizer")
        DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ).save_pretrained(folder / "scheduler")
        return folder

    return build
