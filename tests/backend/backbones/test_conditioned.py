"""A backbone under a ControlNet: what it adds, to which frames and levels, and what it leaves alone."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.attention import Reach
from mattebox_backend.backbones.conditioned import Condition, Conditioned
from mattebox_backend.backbones.controlnet import ControlNet, open_controlnet
from mattebox_backend.device import Device
from mattebox_backend.diffusion.denoiser import Denoiser, Windows
from mattebox_backend.errors import ModelRefused, UnknownModel

CPU = Device("cpu", 0, "float32")


@pytest.fixture(scope="module")
def controlnet(tiny_controlnet: Path) -> ControlNet:
    return open_controlnet(tiny_controlnet, CPU)


def pictures(frames: int, height: int = 64, width: int = 64) -> Any:
    return np.random.default_rng(3).integers(0, 256, (frames, height, width, 3), np.uint8)


def latents_of(branches: int, frames: int, height: int = 8, width: int = 8) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(branches, frames, 4, height, width)


def texts(backbone: Any, *prompts: str) -> torch.Tensor:
    return torch.stack([backbone.embed(prompt).states for prompt in prompts])


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_a_frame_is_what_diffusers_itself_predicts_under_a_controlnet(
    backbone: Any, controlnet: ControlNet, tiny_model: Path, tiny_controlnet: Path, scale: float
) -> None:
    from diffusers import ControlNetModel, UNet2DConditionModel

    condition = Condition(pictures(1, 64, 48), scale)
    latents, text = latents_of(1, 1, 8, 6), texts(backbone, "a red circle")
    unet = UNet2DConditionModel.from_pretrained(tiny_model / "unet").eval()
    reference = ControlNetModel.from_pretrained(tiny_controlnet).eval()
    picture = torch.from_numpy(condition.pictures).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        down, middle = reference(latents[0], 300, text, picture, conditioning_scale=scale, return_dict=False)
        expected = unet(
            latents[0],
            300,
            text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        bare = unet(latents[0], 300, text).sample
    predicted = Conditioned(backbone, controlnet, condition).predict(latents, 300, text, ["edit"])[0]
    torch.testing.assert_close(predicted, expected, atol=1e-4, rtol=1e-4)
    assert (expected - bare).abs().max() > 0.05, "the ControlNet says nothing"


def test_every_frame_is_under_its_own_picture_in_windows_too(backbone: Any, controlnet: ControlNet) -> None:
    conditioned = Conditioned(backbone, controlnet, Condition(pictures(5)))
    latents, text = latents_of(2, 5), texts(backbone, "a red circle", "a hat")
    whole = Denoiser(conditioned, Reach.OWN).predict(latents, 300, text, ["edit", "other"])
    for windows in (Windows(2, 1), Windows(3, 2), Windows(1, 1)):
        parts = Denoiser(conditioned, Reach.OWN, windows).predict(latents, 300, text, ["edit", "other"])
        torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-4)
    for frame in range(5):
        alone = replace(conditioned.condition, pictures=conditioned.condition.pictures[frame : frame + 1])
        one = Conditioned(backbone, controlnet, alone)
        single = one.predict(latents[:, frame : frame + 1], 300, text, ["edit", "other"])
        torch.testing.assert_close(single[:, 0], whole[:, frame], atol=1e-4, rtol=1e-4)


def test_branches_run_apart_give_what_they_give_together(
    backbone: Any, controlnet: ControlNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    conditioned = Conditioned(backbone, controlnet, Condition(pictures(2)))
    latents, text = latents_of(2, 2), texts(backbone, "a red circle", "a hat")
    together = conditioned.predict(latents, 300, text, ["one", "two"])
    monkeypatch.setattr(type(backbone), "_fits", lambda *_: False)
    apart = conditioned.predict(latents, 300, text, ["one", "two"])
    torch.testing.assert_close(apart, together, atol=1e-5, rtol=1e-5)


def test_a_text_per_frame_reaches_the_controlnet(backbone: Any, controlnet: ControlNet) -> None:
    conditioned = Conditioned(backbone, controlnet, Condition(pictures(2)))
    latents, text = latents_of(1, 2), texts(backbone, "a red circle")
    once = conditioned.predict(latents, 300, text, ["edit"], reach=Reach.OWN)
    same = text.unsqueeze(1).expand(-1, 2, -1, -1)
    torch.testing.assert_close(
        conditioned.predict(latents, 300, same, ["edit"], reach=Reach.OWN), once, atol=1e-5, rtol=1e-5
    )
    second = torch.stack([text[0], texts(backbone, "a hat")[0]]).unsqueeze(0)
    other = conditioned.predict(latents, 300, second, ["edit"], reach=Reach.OWN)
    torch.testing.assert_close(other[:, 0], once[:, 0], atol=1e-5, rtol=1e-5)
    assert (other[:, 1] - once[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("saving", [False, True])
def test_the_gradient_by_the_latents_goes_through_the_controlnet(
    backbone: Any, controlnet: ControlNet, saving: bool
) -> None:
    conditioned = Conditioned(backbone, controlnet, Condition(pictures(2)))
    start, text = latents_of(1, 2), texts(backbone, "a red circle")
    weights = torch.randn(start.shape, generator=torch.Generator().manual_seed(4))

    def value(latents: torch.Tensor) -> torch.Tensor:
        return (conditioned.predict(latents, 300, text, ["edit"]) * weights).sum()

    latents = start.clone().requires_grad_(True)
    if saving:
        with conditioned.saving_memory():
            value(latents).backward()
    else:
        value(latents).backward()
    gradient = latents.grad
    assert gradient is not None
    direction = gradient / gradient.norm()
    step = 1e-2
    with torch.no_grad():
        slope = (value(start + step * direction) - value(start - step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float(gradient.norm()), rel=0.02)
    assert not controlnet.module.is_gradient_checkpointing
    assert not backbone.unet.is_gradient_checkpointing


def test_beyond_its_window_the_model_is_itself(backbone: Any, controlnet: ControlNet) -> None:
    latents, text = latents_of(1, 1), texts(backbone, "a red circle")
    alpha = float(backbone.schedule.alphas[300])
    felt = math.log(alpha / (1 - alpha)) - math.log(64 * 64 / (8 * 8))
    bare = backbone.predict(latents, 300, text, ["edit"])
    for window, acts in ((felt + 0.01, True), (felt - 0.01, False)):
        conditioned = Conditioned(backbone, controlnet, Condition(pictures(1), window=window))
        assert torch.equal(conditioned.predict(latents, 300, text, ["edit"]), bare) is not acts


def test_the_identity_follows_everything_that_changes_a_prediction(
    backbone: Any, controlnet: ControlNet
) -> None:
    condition = Condition(pictures(2))
    other = condition.pictures.copy()
    other[1, 0, 0, 0] ^= 1
    conditioned = [
        backbone,
        Conditioned(backbone, controlnet, condition),
        Conditioned(backbone, controlnet, replace(condition, scale=0.5)),
        Conditioned(backbone, controlnet, replace(condition, window=0.0)),
        Conditioned(backbone, controlnet, replace(condition, pictures=other)),
        Conditioned(backbone, ControlNet("other", "other weights", controlnet.module), condition),
    ]
    assert len({one.identity for one in conditioned}) == len(conditioned)
    again = Conditioned(backbone, controlnet, Condition(pictures(2)))
    assert again.identity == conditioned[1].identity


def test_the_model_underneath_stays_as_it_was(backbone: Any, controlnet: ControlNet) -> None:
    def weights() -> str:
        digest = hashlib.sha256()
        for module in (backbone.unet, controlnet.module):
            for value in module.state_dict().values():
                digest.update(value.numpy().tobytes())
        return digest.hexdigest()

    latents, text = latents_of(1, 2), texts(backbone, "a red circle")
    before, bare = weights(), backbone.predict(latents, 300, text, ["edit"])
    conditioned = Conditioned(backbone, controlnet, Condition(pictures(2)))
    conditioned.predict(latents, 300, text, ["edit"])
    assert weights() == before
    assert torch.equal(backbone.predict(latents, 300, text, ["edit"]), bare)
    assert conditioned.attention_sites() == backbone.attention_sites()
    assert conditioned.switchboard is backbone.switchboard


def test_a_model_that_knows_motion_takes_the_controlnet_of_its_image_model(
    motion_backbone: Any, controlnet: ControlNet
) -> None:
    condition = Condition(pictures(4))
    latents, text = latents_of(2, 4), texts(motion_backbone, "a red circle", "a hat")
    conditioned = Conditioned(motion_backbone, controlnet, condition)
    assert conditioned.frame_limit == 6
    predicted = conditioned.predict(latents, 300, text, ["edit", "other"])
    picture = torch.from_numpy(condition.pictures).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        down, middle = controlnet.module(
            latents.flatten(0, 1),
            300,
            text.repeat_interleave(4, 0),
            picture.repeat(2, 1, 1, 1),
            return_dict=False,
        )
        expected = motion_backbone.predict(
            latents,
            300,
            text,
            ["edit", "other"],
            residuals=lambda *_: {
                "down_block_additional_residuals": down,
                "mid_block_additional_residual": middle,
            },
        )
    torch.testing.assert_close(predicted, expected, atol=1e-4, rtol=1e-4)
    bare = motion_backbone.predict(latents, 300, text, ["edit", "other"])
    assert (predicted - bare).abs().max() > 0.05


def changed(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def pickled(folder: Path) -> None:
    weights = next(folder.glob("*.safetensors"))
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))


def truncated(folder: Path) -> None:
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (pickled, "holds its weights as diffusion_pytorch_model.bin, a pickle that could run any code"),
        (truncated, "The network of the model net cannot be loaded"),
        (without_config, "net is no complete model"),
        (changed(_class_name="UNet2DConditionModel"), "is a UNet2DConditionModel and no ControlNetModel"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_words(
    tiny_controlnet: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    folder = tmp_path / "net"
    shutil.copytree(tiny_controlnet, folder)
    damage(folder)
    with pytest.raises(ModelRefused) as caught:
        open_controlnet(folder, CPU)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            {"block_out_channels": (16, 16)},
            r"its block_out_channels is \[16, 16\] and the model's is \[16, 32\]",
        ),
        ({"cross_attention_dim": 48}, "its cross_attention_dim is 48 and the model's is 32"),
        ({"layers_per_block": 2}, r"its layers_per_block is \[2, 2\]"),
        ({"conditioning_embedding_out_channels": (4, 4)}, "3 channels and 2 pixels a latent cell"),
        ({"conditioning_channels": 1}, "1 channels and 8 pixels a latent cell"),
    ],
)
def test_one_that_was_made_for_another_model_is_refused(
    backbone: Any, build: dict[str, Any], words: str
) -> None:
    from diffusers import ControlNetModel

    settings = {
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "cross_attention_dim": 32,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
        "conditioning_embedding_out_channels": (4, 4, 8, 8),
    }
    misfit = ControlNet("misfit", "", ControlNetModel(**(settings | build)))
    with pytest.raises(ModelRefused, match=words):
        Conditioned(backbone, misfit, Condition(pictures(1)))
    Conditioned(backbone, ControlNet("fit", "", ControlNetModel(**settings)), Condition(pictures(1)))


def test_a_path_without_a_controlnet_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="There is no model folder at"):
        open_controlnet(tmp_path / "nowhere", CPU)
