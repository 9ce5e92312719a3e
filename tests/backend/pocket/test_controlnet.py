"""Training a ControlNet on a pocket model: resumable, the base frozen, loaded like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from mattebox_backend.backbones import load_backbone
from mattebox_backend.backbones.conditioned import Condition, Conditioned
from mattebox_backend.backbones.controlnet import open_controlnet
from mattebox_backend.conditions import edges
from mattebox_backend.device import Device
from mattebox_backend.pocket.cli import app
from mattebox_backend.pocket.config import PocketSdConfig
from mattebox_backend.pocket.config import load_config as load_base_config
from mattebox_backend.pocket.controlnet.config import ControlNetConfig, load_controlnet_config
from mattebox_backend.pocket.controlnet.dataset import EdgeSet, edge_set
from mattebox_backend.pocket.controlnet.measure import edges_found
from mattebox_backend.pocket.controlnet.training import build_controlnet, predict_noise, train_controlnet
from mattebox_backend.pocket.denoiser import TextToLatent, build_denoiser
from mattebox_backend.pocket.errors import InvalidConfig, PocketError, UnusableCheckpoint
from mattebox_backend.pocket.export import export_pocket_sd
from mattebox_backend.pocket.model import PocketSd, load_pocket_sd
from mattebox_backend.pocket.seeds import DENOISER_SEEDS
from mattebox_backend.pocket.text import build_text_encoder
from mattebox_backend.pocket.tokenizer import build_tokenizer
from mattebox_backend.pocket.vae import build_vae
from mattebox_backend.world.render import render_frame
from mattebox_backend.world.sampling import sample_scene
from typer.testing import CliRunner

TINY = ControlNetConfig(
    train_frames=6, conditioning_channels=(4, 4, 4, 4), steps=4, batch=2, warmup=1, checkpoint_every=1
)


@pytest.fixture
def base_folder(tiny: PocketSdConfig, tiny_toml: Path, tmp_path: Path) -> Path:
    """An untrained pocket model that stands on its own."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(tiny.text.length)
    text = build_text_encoder(tiny.text, tokenizer)
    unet = build_denoiser(tiny.denoiser, tiny.text.width, tiny.size // 8)
    folder = tmp_path / "base"
    notes = {"training.toml": tiny_toml.read_text()}
    export_pocket_sd(folder, build_vae(tiny.vae, tiny.size), tokenizer, TextToLatent(unet, text), notes)
    return folder


@pytest.fixture
def base(base_folder: Path) -> PocketSd:
    return load_pocket_sd(base_folder)


@pytest.fixture
def data(base: PocketSd, base_folder: Path, tmp_path: Path) -> EdgeSet:
    return edge_set(base, load_base_config(base_folder / "training.toml"), 6, tmp_path / "set")


def weights(module: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Stopped(Exception):
    pass


def test_the_sets_pictures_are_the_edges_of_the_frames_that_the_base_learnt_from(
    data: EdgeSet, base: PocketSd, base_folder: Path, tmp_path: Path
) -> None:
    numbers = np.array([4, 1])
    pictures = data.conditions(numbers)
    assert pictures.shape == (2, 3, 32, 32)
    for picture, number in zip(pictures, numbers, strict=True):
        scene = sample_scene(DENOISER_SEEDS + int(number), width=32, height=32)
        expected = edges([render_frame(scene, int(number) % scene.frames)])[0] / 255
        assert np.array_equal(picture.numpy(), np.stack([expected] * 3))
    assert data.edges.any()
    again = edge_set(base, load_base_config(base_folder / "training.toml"), 6, tmp_path / "set")
    assert np.array_equal(again.edges, data.edges)
    assert np.array_equal(again.frames.latents, data.frames.latents)


def test_an_untrained_controlnet_adds_nothing_and_lets_thin_lines_through(base: PocketSd) -> None:
    unet = base.models.unet
    controlnet = build_controlnet(unet, (4, 4, 8, 8))
    latents, context = torch.randn(2, 4, 4, 4), torch.randn(2, 32, 16)
    line = torch.zeros(2, 3, 32, 32)
    line[:, :, 16] = 1
    levels = torch.tensor([300, 600])
    with torch.no_grad():
        bare = predict_noise(unet, None, latents, levels, context, line)
        under = predict_noise(unet, controlnet, latents, levels, context, line)
        embedding = controlnet.controlnet_cond_embedding
        seen = [torch.nn.functional.silu(embedding.conv_in(picture)) for picture in (line, line * 0)]
        for layer in embedding.blocks:
            seen = [torch.nn.functional.silu(layer(picture)) for picture in seen]
    torch.testing.assert_close(under, bare)
    assert (seen[0] - seen[1]).abs().max() > 0.05


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_broken_off_training_ends_with_the_weights_of_an_unbroken_one(
    base: PocketSd, data: EdgeSet, tmp_path: Path, optimizer: Any
) -> None:
    def stop(step: int, controlnet: ControlNetModel) -> None:
        if step == 2:
            raise Stopped

    config = TINY.model_copy(update={"optimizer": optimizer})
    before = weights(base.models.unet), weights(base.models.text_encoder)
    whole = train_controlnet(config, base, "base", data, tmp_path / "whole")
    with pytest.raises(Stopped):
        train_controlnet(config, base, "base", data, tmp_path / "broken", stop)
    resumed = train_controlnet(config, base, "base", data, tmp_path / "broken")
    assert equal(weights(whole), weights(resumed))
    untrained = weights(build_controlnet(base.models.unet, config.conditioning_channels))
    assert not equal(weights(whole), untrained)
    assert whole.controlnet_mid_block.weight.any()
    assert equal(weights(base.models.unet), before[0])
    assert equal(weights(base.models.text_encoder), before[1])


def test_a_checkpoint_of_another_base_is_refused(base: PocketSd, data: EdgeSet, tmp_path: Path) -> None:
    train_controlnet(TINY, base, "one base", data, tmp_path)
    with pytest.raises(UnusableCheckpoint, match="belongs to another configuration"):
        train_controlnet(TINY, base, "another base", data, tmp_path)


def test_edges_count_as_found_within_two_pixels() -> None:
    wanted, seen = np.zeros((2, 9, 12), np.uint8), np.zeros((2, 9, 12), np.uint8)
    wanted[0, 4, 2:10] = 255
    seen[0, 6, 5] = 255
    expected = sum(abs(column - 5) <= 2 for column in range(2, 10)) / 8
    assert edges_found(wanted, seen) == pytest.approx(expected)
    seen[0, 6, 5], seen[0, 7, 5] = 0, 255
    assert edges_found(wanted, seen) == 0
    assert edges_found(np.zeros_like(wanted), seen) == 1


def test_one_command_trains_measures_and_writes_what_real_code_loads(
    base_folder: Path, tmp_path: Path
) -> None:
    config = tmp_path / "net.toml"
    config.write_text("train_frames = 4\nconditioning_channels = [4, 4, 4, 4]\nsteps = 2\nbatch = 2\n")
    folder = tmp_path / "made" / "net"
    arguments = ["--base", base_folder, "--work", tmp_path / "work", "--export", folder, "--config", config]
    outcome = CliRunner().invoke(
        app, ["pocket-controlnet", *map(str, arguments), "--scenes", "2", "--threads", "1"]
    )
    assert outcome.exit_code == 0, outcome.output
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "README.md",
        "figures.json",
        "training.toml",
    }
    figures = json.loads((folder / "figures.json").read_text())
    assert {"noise_error", "noise_error_without", "edges_found", "edges_found_without"} <= figures.keys()
    assert "Measured on 2 unseen scenes" in (folder / "README.md").read_text()
    assert list((tmp_path / "work").glob("samples-*.png"))

    cpu = Device("cpu", 0, "float32")
    picture = np.zeros((1, 32, 32, 3), np.uint8)
    conditioned = Conditioned(
        load_backbone(base_folder, cpu), open_controlnet(folder, cpu), Condition(picture)
    )
    text = conditioned.embed("a red circle").states.unsqueeze(0)
    assert conditioned.predict(torch.randn(1, 1, 4, 4, 4), 10, text, ["edit"]).isfinite().all()


def test_a_wrong_value_in_the_configuration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.toml"
    path.write_text("steps = 0\n")
    with pytest.raises(InvalidConfig, match="'steps'"):
        load_controlnet_config(path)
    path.write_text("stepps = 3\n")
    with pytest.raises(InvalidConfig, match="'stepps'"):
        load_controlnet_config(path)
    assert load_controlnet_config().steps >= 1000


def test_a_base_that_is_no_pocket_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(PocketError, match=r"holds no model_index\.json"):
        load_pocket_sd(tmp_path)
