"""Motion modules for a pocket model: their set, their training, their folder, and what is measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import MotionAdapter
from mattebox_backend.attention import Reach
from mattebox_backend.backbones import load_backbone
from mattebox_backend.device import Device
from mattebox_backend.pocket.cli import app
from mattebox_backend.pocket.config import PocketSdConfig
from mattebox_backend.pocket.dataset import captions_of
from mattebox_backend.pocket.denoiser import TextToLatent, build_denoiser
from mattebox_backend.pocket.errors import PocketError, UnusableCheckpoint
from mattebox_backend.pocket.export import export_pocket_sd
from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.motion.adapter import build_adapter, moving_unet
from mattebox_backend.pocket.motion.clips import ClipSet, clip_frames, clip_set, sample_clip
from mattebox_backend.pocket.motion.config import AdapterConfig, PocketMotionConfig, TrainingConfig
from mattebox_backend.pocket.motion.export import export_motion, load_motion
from mattebox_backend.pocket.motion.measure import change, measure_motion
from mattebox_backend.pocket.motion.run import load_base
from mattebox_backend.pocket.motion.sampling import predict_clips, sample_clips
from mattebox_backend.pocket.motion.training import _Loss, draw_clip_noise, train_motion
from mattebox_backend.pocket.seeds import MEASURE_SEEDS, MOTION_SEEDS
from mattebox_backend.pocket.text import build_text_encoder, token_ids
from mattebox_backend.pocket.tokenizer import build_tokenizer
from mattebox_backend.pocket.vae import build_vae
from mattebox_backend.world.sampling import SceneOptions
from typer.testing import CliRunner


@pytest.fixture
def base_folder(tiny: PocketSdConfig, tiny_toml: Path, tmp_path: Path) -> Path:
    """A pocket model with random weights, of 32×32 frames and 4×4 latents."""
    torch.manual_seed(1)
    tokenizer = build_tokenizer(tiny.text.length)
    models = TextToLatent(
        build_denoiser(tiny.denoiser, tiny.text.width, 4), build_text_encoder(tiny.text, tokenizer)
    )
    vae = build_vae(tiny.vae, tiny.size)
    notes = {"training.toml": tiny_toml.read_text()}
    export_pocket_sd(tmp_path / "base", vae, tokenizer, models, notes)
    return tmp_path / "base"


@pytest.fixture
def base(base_folder: Path) -> PocketSd:
    return load_base(str(base_folder))[0]


@pytest.fixture
def config(base_folder: Path) -> PocketMotionConfig:
    return PocketMotionConfig(
        seed=3,
        base=str(base_folder),
        clips=4,
        checkpoint_every=1,
        adapter=AdapterConfig(frames=3, heads=2),
        training=TrainingConfig(steps=3, batch=2, warmup=1, learning_rate=1e-2),
    )


@pytest.fixture
def data(config: PocketMotionConfig, base: PocketSd, tmp_path: Path) -> ClipSet:
    return clip_set(config, base, "base", tmp_path / "set")


def weights(adapter: MotionAdapter) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in adapter.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_set_holds_whole_clips_and_captions_that_are_true_of_every_frame(
    config: PocketMotionConfig, base: PocketSd, data: ClipSet, tmp_path: Path
) -> None:
    assert data.latents.shape == (4, 3, 4, 4, 4)
    assert data.tokens.shape == (4, 6, 3, 32)
    read = clip_set(config, base, "base", tmp_path / "set")
    assert np.array_equal(read.latents, data.latents)
    for number in range(4):
        scene = sample_clip(base, MOTION_SEEDS + number, 3)
        for time in range(3):
            said = token_ids(base.tokenizer, captions_of(scene, time, (MOTION_SEEDS, number)))
            assert np.array_equal(data.tokens[number, :, time], said.numpy())
        pixels = torch.from_numpy(clip_frames(scene)).permute(0, 3, 1, 2) / 127.5 - 1
        encoded = base.vae.encode(pixels).latent_dist.mean.detach()
        encoded = encoded * base.vae.config.scaling_factor
        assert np.abs(data.latents[number] - encoded.numpy()).max() < 0.05 * float(encoded.abs().max())


def test_the_set_of_another_base_is_not_taken_for_this_one(
    config: PocketMotionConfig, base: PocketSd, data: ClipSet, tmp_path: Path
) -> None:
    changed = clip_set(config, base, "another", tmp_path / "set")
    assert changed.mark != data.mark
    train_motion(config, base, data, tmp_path / "work")
    with pytest.raises(UnusableCheckpoint, match="another configuration"):
        train_motion(config, base, changed, tmp_path / "work")


def test_untrained_motion_modules_change_nothing(base: PocketSd, config: PocketMotionConfig) -> None:
    image = base.models.unet
    moving = moving_unet(image, build_adapter(config.adapter, image))
    noisy = torch.randn(2, 4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    context = torch.randn(6, 32, 16, generator=torch.Generator().manual_seed(2))
    levels = torch.tensor([100, 700])
    with torch.no_grad():
        expected = predict_clips(image, noisy, levels, context)
        torch.testing.assert_close(predict_clips(moving, noisy, levels, context), expected)
        apart = image(noisy[1, :, 2].unsqueeze(0), 700, context[5:]).sample
    torch.testing.assert_close(expected[1, :, 2].unsqueeze(0), apart, atol=1e-5, rtol=1e-5)


def test_training_moves_the_motion_modules_and_nothing_else(
    base: PocketSd, config: PocketMotionConfig, data: ClipSet, tmp_path: Path
) -> None:
    image = {name: value.clone() for name, value in base.models.unet.state_dict().items()}
    trained = train_motion(config, base, data, tmp_path / "work")
    untrained = weights(build_adapter(config.adapter, base.models.unet))
    unmoved = [name for name, value in weights(trained).items() if torch.equal(value, untrained[name])]
    assert all(name.endswith("pos_embed.pe") for name in unmoved)
    assert equal(image, base.models.unet.state_dict())


@pytest.mark.parametrize("last", [1, 2])
def test_a_broken_off_training_ends_with_the_weights_of_an_unbroken_one(
    last: int, base: PocketSd, config: PocketMotionConfig, data: ClipSet, tmp_path: Path
) -> None:
    class Stopped(Exception):
        pass

    def stop(step: int, adapter: MotionAdapter) -> None:
        if step == last:
            raise Stopped

    whole = train_motion(config, base, data, tmp_path / "whole")
    with pytest.raises(Stopped):
        train_motion(config, base, data, tmp_path / "broken", stop)
    resumed = train_motion(config, base, data, tmp_path / "broken")
    assert equal(weights(whole), weights(resumed))


def test_all_frames_of_a_clip_share_the_offset_of_their_noise() -> None:
    shape = (50, 4, 3, 6, 6)
    white, offset = (draw_clip_noise(shape, share, torch.Generator().manual_seed(3)) for share in (0.0, 0.5))
    difference = offset - white
    assert torch.allclose(difference, difference[:, :, :1, :1, :1].expand(shape), atol=1e-6)
    assert difference[:, :, 0, 0, 0].std() == pytest.approx(0.5, rel=0.15)
    assert white.std() == pytest.approx(1.0, rel=0.01)
    assert not torch.allclose(white[:, :, 0], white[:, :, 1], atol=0.1)


def batch_of(
    config: PocketMotionConfig, base: PocketSd, data: ClipSet, **training: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch under settings of one's own, and always the same draws."""
    plain = {"reversed_share": 0.0, "empty_prompt_share": 0.0}
    settings = config.training.model_copy(update=plain | training)
    loss = _Loss(config.model_copy(update={"training": settings}), base, data, base.models.unet)
    return loss._batch(np.random.default_rng(5))


def test_a_clip_backwards_has_its_captions_backwards(
    config: PocketMotionConfig, base: PocketSd, data: ClipSet
) -> None:
    told = np.arange(data.tokens.size, dtype=np.int64) % 30000
    data = ClipSet(data.latents, told.astype(np.int16).reshape(data.tokens.shape), data.mark)
    latents, tokens = batch_of(config, base, data)
    backwards, said = batch_of(config, base, data, reversed_share=1.0)
    assert torch.equal(latents.flip(2), backwards)
    assert torch.equal(tokens.flip(1), said)
    assert not torch.equal(tokens, said)


def test_a_clip_without_a_prompt_has_none_in_any_frame(
    config: PocketMotionConfig, base: PocketSd, data: ClipSet
) -> None:
    latents, tokens = batch_of(config, base, data)
    same, none = batch_of(config, base, data, empty_prompt_share=1.0)
    assert torch.equal(latents, same)
    assert torch.equal(none, token_ids(base.tokenizer, [""]).expand(2, 3, -1))
    assert not torch.equal(none, tokens)


def test_what_is_written_is_loaded_as_a_backbone_that_predicts_the_same(
    base: PocketSd, config: PocketMotionConfig, tmp_path: Path
) -> None:
    torch.manual_seed(4)
    adapter = build_adapter(config.adapter, base.models.unet)
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    export_motion(tmp_path / "motion", adapter, config.base, {"README.md": "what it is"})
    assert (tmp_path / "motion" / "README.md").read_text() == "what it is"
    backbone = load_backbone(tmp_path / "motion", Device("cpu", 0, "float32"))
    latents = torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    text = backbone.embed("a red star").states.unsqueeze(0)
    moving = moving_unet(base.models.unet, load_motion(tmp_path / "motion"))
    with torch.no_grad():
        noisy, context = latents.transpose(1, 2), text.expand(3, -1, -1)
        expected = predict_clips(moving, noisy, torch.tensor([400]), context).transpose(1, 2)
    predicted = backbone.predict(latents, 400, text, ["edit"], reach=Reach.OWN)
    torch.testing.assert_close(predicted, expected, atol=1e-4, rtol=1e-4)
    for name, value in load_motion(tmp_path / "motion").state_dict().items():
        torch.testing.assert_close(value, adapter.state_dict()[name].half().float())


def test_sampled_clips_begin_with_the_same_noise_whatever_samples_them(
    base: PocketSd, config: PocketMotionConfig
) -> None:
    image = base.models.unet
    moving = moving_unet(image, build_adapter(config.adapter, image))
    still, other = (
        sample_clips(base, unet, ["a red star", ""], 3, seed=1, steps=2) for unet in (image, moving)
    )
    assert still.shape == (2, 3, 32, 32, 3)
    assert np.abs(still.astype(int) - other.astype(int)).max() <= 1


def test_change_is_the_mean_difference_of_neighbouring_frames() -> None:
    clip = np.zeros((3, 2, 2, 3), np.uint8)
    clip[1], clip[2] = 10, 4
    assert change(clip) == pytest.approx((10 + 6) / 2)


def test_figures_stand_beside_those_of_the_image_model(base: PocketSd, config: PocketMotionConfig) -> None:
    adapter = build_adapter(config.adapter, base.models.unet)
    figures = measure_motion(base, adapter, 2, steps=2)
    assert figures.noise_error == pytest.approx(figures.base_noise_error, rel=1e-3)
    assert figures.sampled.change == pytest.approx(figures.base_sampled.change, rel=0.01)
    scenes = [sample_clip(base, MEASURE_SEEDS + n, 3, SceneOptions(blooms=0)) for n in range(2)]
    truth = [np.abs(np.diff(clip_frames(scene).astype(float), axis=0)).mean() for scene in scenes]
    assert figures.true_change == pytest.approx(np.mean(truth))
    assert figures.as_dict()["base_colour"] == figures.base_sampled.colour


CONFIG = """
seed = 3
base = "{base}"
clips = 3
checkpoint_every = 2

[adapter]
frames = 3
heads = 2

[training]
steps = 2
batch = 1
"""


def test_one_command_trains_measures_and_writes_a_folder(base_folder: Path, tmp_path: Path) -> None:
    toml, out = tmp_path / "motion.toml", tmp_path / "motion"
    toml.write_text(CONFIG.format(base=base_folder))
    folders = ["--work", str(tmp_path / "work"), "--export", str(out), "--interim", str(tmp_path / "early")]
    options = [*folders, "--config", str(toml), "--clips", "1", "--threads", "1"]
    result = CliRunner().invoke(app, ["pocket-motion", *options])
    assert result.exit_code == 0, result.output
    assert json.loads((out / "model_index.json").read_text())["_class_name"] == "AnimateDiffPipeline"
    assert json.loads((out / "mattebox.json").read_text())["base"] == str(base_folder)
    assert "right colour" in (out / "README.md").read_text()
    assert "Not measured" in (tmp_path / "early" / "README.md").read_text()
    figures = json.loads((out / "figures.json").read_text())
    assert figures["clips"] == 1
    assert list((tmp_path / "work").glob("samples-*.png"))
    options = [str(out), "--base", str(base_folder), "--clips", "1", "--json", str(tmp_path / "again.json")]
    again = CliRunner().invoke(app, ["measure-motion", *options, "--threads", "1"])
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "again.json").read_text())["change"] == figures["change"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda toml: toml.replace("steps", "step"), "training.step"),
        (lambda toml: toml.replace('base = "', 'base = "/nowhere'), "There is no model folder at"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(
    wrong: Callable[[str], str], words: str, base_folder: Path, tmp_path: Path
) -> None:
    toml = tmp_path / "motion.toml"
    toml.write_text(wrong(CONFIG.format(base=base_folder)))
    options = ["--work", str(tmp_path / "work"), "--export", str(tmp_path / "out"), "--config", str(toml)]
    result = CliRunner().invoke(app, ["pocket-motion", *options])
    assert result.exit_code == 1
    assert words in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_a_folder_without_motion_modules_is_no_motion_folder(base_folder: Path) -> None:
    with pytest.raises(PocketError, match="holds no motion_adapter"):
        load_motion(base_folder)
