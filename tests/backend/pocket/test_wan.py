"""Making a pocket Wan, end to end at a tiny size: its set, its training, its folder, what is measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mattebox_backend.backbones import load_video_backbone
from mattebox_backend.device import Device
from mattebox_backend.pocket.cli import app
from mattebox_backend.pocket.errors import InvalidConfig, PocketError, UnusableCheckpoint
from mattebox_backend.pocket.seeds import MEASURE_SEEDS, WAN_SEEDS
from mattebox_backend.pocket.wan.clips import ClipSet, clip_frames, clip_set, draw_known, encode, wan_scene
from mattebox_backend.pocket.wan.config import ConditionShares, PocketWanConfig, TextConfig, load_wan_config
from mattebox_backend.pocket.wan.measure import load_wan, measure_wan
from mattebox_backend.pocket.wan.run import train_pocket_wan
from mattebox_backend.pocket.wan.sight import load_sight
from mattebox_backend.pocket.wan.text import (
    CAPTION_LENGTH,
    CONTEXT_LENGTH,
    build_text_encoder,
    build_tokenizer,
    text_states,
    token_ids,
)
from mattebox_backend.pocket.wan.training import (
    TextToVideo,
    _Loss,
    _weights,
    build_transformer,
    train_transformer,
)
from mattebox_backend.pocket.wan.vae import build_video_vae, to_video, train_video_vae
from mattebox_backend.world.captions import caption
from typer.testing import CliRunner

TOML = """
seed = 3
size = 32
frames = 5
clips = 3
checkpoint_every = 1
[vae]
channels = 4
multiples = [1, 1, 1, 1]
pool = 2
steps = 2
crops = [{ frames = 1, count = 2, side = 16 }, { frames = 5, count = 1, side = 16 }]
whole_steps = 1
whole = [{ frames = 5, count = 1, side = 0 }]
long_steps = 1
long = [{ frames = 5, count = 1, side = 16 }]
[text]
width = 16
layers = 1
heads = 2
[transformer]
heads = 2
head_width = 16
layers = 2
feed_forward = 32
[training]
steps = 2
batch = 2
warmup = 1
bfloat16 = false
"""


@pytest.fixture(autouse=True)
def single_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


@pytest.fixture
def config(tmp_path: Path) -> PocketWanConfig:
    (tmp_path / "tiny.toml").write_text(TOML)
    return load_wan_config(tmp_path / "tiny.toml")


@pytest.fixture
def data(config: PocketWanConfig, tmp_path: Path) -> ClipSet:
    vae = build_video_vae(config.vae).eval().requires_grad_(False)
    return clip_set(config, vae, tmp_path / "set")


def test_the_whole_making_and_that_it_goes_on_where_it_stopped(
    config: PocketWanConfig, tmp_path: Path
) -> None:
    arguments = (config, TOML, tmp_path / "work", tmp_path / "made", 1, tmp_path / "interim")
    figures = train_pocket_wan(*arguments)
    assert figures.clips == 1
    folder = tmp_path / "made"
    loaded = load_video_backbone(folder, Device("cpu", 0, "float32"))
    assert (loaded.frame_limit, loaded.frame_stride) == (5, 4)
    assert loaded.working_size(640, 640).width == 32
    assert loaded.defaults["mask-lora"]["learning_rate"] > 0
    assert json.loads((folder / "figures.json").read_text())["vae_psnr"] == figures.vae_psnr
    assert "Measured on 1 unseen scenes" in (folder / "README.md").read_text()
    assert "Not measured" in (tmp_path / "interim" / "README.md").read_text()
    assert (tmp_path / "work" / "samples-000002.png").stat().st_size > 0
    weights = (folder / "transformer" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert train_pocket_wan(*arguments) == figures
    assert (folder / "transformer" / "diffusion_pytorch_model.safetensors").read_bytes() == weights


def test_the_latents_of_the_set_have_no_mean_and_a_spread_of_one(
    config: PocketWanConfig, tmp_path: Path
) -> None:
    vae = train_video_vae(config, tmp_path / "work")
    clips = [clip_frames(wan_scene(config, seed)) for seed in range(2)]
    raw = [vae.encode(to_video(clip[None])).latent_dist.mode()[0] for clip in clips]
    for clip, latents in zip(clips, raw, strict=True):
        found = encode(vae, clip).astype(np.float32)
        mean = np.array(vae.config.latents_mean)[None, :, None, None]
        spread = np.array(vae.config.latents_std)[None, :, None, None]
        expected = (latents.transpose(0, 1).numpy() - mean) / spread
        assert np.allclose(found, expected, atol=0.15)


def test_the_autoencoder_goes_on_with_long_clips_from_where_the_short_ones_left_it(
    config: PocketWanConfig, tmp_path: Path
) -> None:
    short = config.model_copy(update={"vae": config.vae.model_copy(update={"long_steps": 0})})
    before = train_video_vae(short, tmp_path / "work").state_dict()
    trained = (tmp_path / "work" / "vae.safetensors").stat().st_mtime_ns
    after = train_video_vae(config, tmp_path / "work").state_dict()
    assert (tmp_path / "work" / "vae.safetensors").stat().st_mtime_ns == trained
    assert any(not torch.equal(before[name], after[name]) for name in before)
    again = train_video_vae(config, tmp_path / "work").state_dict()
    assert all(torch.equal(after[name], again[name]) for name in after)


def test_errors_count_more_where_a_clip_moves_and_as_much_in_all() -> None:
    clips = torch.zeros(2, 16, 3, 4, 5, dtype=torch.float64)
    clips[0, :, 2, 1, 2] = 3.0  # varies over time: 0, 3
    clips[1, :, 0] = 5.0  # only the first latent frame differs
    weights = _weights(clips, 4.0)
    assert weights.shape == (2, 1, 1, 4, 5)
    energy = 1.5**2
    raw = np.ones((2, 4, 5))
    raw[0, 1, 2] += 4.0 * energy / (energy + 0.1)
    assert np.allclose(weights.squeeze().numpy(), raw / raw.mean())
    assert torch.equal(_weights(clips, 0.0), torch.ones_like(weights))


def test_what_is_not_told_does_not_stand_in_the_set(config: PocketWanConfig) -> None:
    vae = build_video_vae(config.vae).eval().requires_grad_(False)
    clip = clip_frames(wan_scene(config, WAN_SEEDS))
    known = np.array([True, False, False, False, False])
    other = clip.copy()
    other[1:] = 255 - other[1:]
    assert (encode(vae, clip, known) == encode(vae, other, known)).all()
    assert not (encode(vae, clip) == encode(vae, other)).all()


def test_the_set_is_read_again_and_belongs_to_its_configuration(
    config: PocketWanConfig, data: ClipSet, tmp_path: Path
) -> None:
    vae = build_video_vae(config.vae).eval()
    marked = (tmp_path / "set" / "latents.npy").stat().st_mtime_ns
    again = clip_set(config, vae, tmp_path / "set")
    assert (again.latents == data.latents).all()
    assert (tmp_path / "set" / "latents.npy").stat().st_mtime_ns == marked
    assert data.latents.shape == data.told.shape == (3, 2, 16, 4, 4)
    assert data.known.shape == (3, 5)
    assert data.tokens.shape[0] == 3
    assert data.tokens.shape[2] == CAPTION_LENGTH


def test_the_first_frame_is_always_told_and_the_shares_hold() -> None:
    shares = ConditionShares(first=0.5, beginning=0.2, ends=0.2, some=0.1)
    drawn = [draw_known(shares, 17, np.random.default_rng(seed)) for seed in range(600)]
    assert all(known[0] for known in drawn)
    alone = np.mean([known.sum() == 1 for known in drawn])
    assert 0.43 < alone < 0.57
    begins = np.mean([known.sum() > 1 and known[: known.sum()].all() for known in drawn])
    assert 0.12 < begins < 0.28


def test_every_world_word_is_one_token_and_others_fall_apart() -> None:
    tokenizer = build_tokenizer()
    words = tokenizer("a red circle").input_ids
    assert len(words) == 4
    assert words[-1] == tokenizer.eos_token_id
    assert len(tokenizer("sks").input_ids) > 3
    assert tokenizer.unk_token_id not in tokenizer("sks a red circle").input_ids


def test_text_states_are_zero_beyond_the_text_and_do_not_hang_on_the_padding() -> None:
    tokenizer = build_tokenizer()
    encoder = build_text_encoder(TextConfig(width=16, layers=1, heads=2), tokenizer).eval()
    ids = token_ids(tokenizer, ["a red circle", ""])
    with torch.no_grad():
        states = text_states(encoder, ids)
        short = text_states(encoder, ids[:1, :8])
    assert states.shape == (2, CONTEXT_LENGTH, 16)
    assert (states[0, 4:] == 0).all()
    assert (states[0, :4] != 0).any(-1).all()
    assert torch.allclose(states[:1], short, atol=1e-5)


def test_the_loss_is_that_of_flow_matching(config: PocketWanConfig, data: ClipSet) -> None:
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    encoder = build_text_encoder(config.text, tokenizer)
    transformer = build_transformer(config.transformer, 16, data.seen.shape[-1])
    seen: dict[str, torch.Tensor] = {}

    def spy(module: torch.nn.Module, args: object, kwargs: dict[str, torch.Tensor], output: object) -> None:
        seen.update(kwargs)
        seen["velocity"] = output[0].detach()  # type: ignore[index]

    transformer.register_forward_hook(spy, with_kwargs=True)
    empty = token_ids(tokenizer, [""])[0]
    loss = _Loss(config, data, empty, transformer, encoder).of_step(0)["velocity_error"]
    given = seen["hidden_states"]
    sigma = (seen["timestep"] / 1000).view(-1, 1, 1, 1, 1)
    chosen = np.random.default_rng((config.seed, 5, 0)).integers(3, size=2)
    clean = torch.from_numpy(data.latents[chosen].astype(np.float32)).transpose(1, 2)
    noise = (given[:, :16] - (1 - sigma) * clean) / sigma
    assert 0.5 < float(noise.std()) < 1.5
    expected = (seen["velocity"] - (noise - clean)).square().mean()
    assert loss.item() == pytest.approx(float(expected), rel=1e-3)
    told = torch.from_numpy(data.told[chosen].astype(np.float32)).transpose(1, 2)
    assert torch.equal(given[:, 20:], told)
    known = data.known[chosen]
    for clip in range(2):
        packed = [[known[clip, 0]] * 4, [known[clip, 1 + frame] for frame in range(4)]]
        for latent_frame in range(2):
            for channel in range(4):
                plane = given[clip, 16 + channel, latent_frame]
                assert (plane == float(packed[latent_frame][channel])).all()


def test_a_broken_training_ends_in_the_same_weights(
    config: PocketWanConfig, data: ClipSet, tmp_path: Path
) -> None:
    tokenizer = build_tokenizer()
    whole = train_transformer(config, data, tokenizer, tmp_path / "whole", lambda *_: None)

    def stop(step: int, models: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_transformer(config, data, tokenizer, tmp_path / "broken", stop)
    again = train_transformer(config, data, tokenizer, tmp_path / "broken", lambda *_: None)
    pairs = zip(whole.transformer.state_dict().values(), again.transformer.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    other = config.model_copy(update={"seed": 4})
    with pytest.raises(UnusableCheckpoint, match="belongs to another configuration"):
        train_transformer(other, data, tokenizer, tmp_path / "broken", lambda *_: None)


def test_the_scorers_tower_is_what_the_model_sees_with() -> None:
    sight = load_sight("pocket-score")
    states = sight.states(np.zeros((2, 128, 128, 3), np.uint8))
    assert states.shape == (2, 101, 64)
    with pytest.raises(PocketError, match="no-such-scorer"):
        load_sight("no-such-scorer")


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text(TOML.replace("clips = 3", "clops = 3"))
    with pytest.raises(InvalidConfig, match="clops"):
        load_wan_config(tmp_path / "wrong.toml")
    answer = CliRunner().invoke(
        app,
        ["pocket-wan-i2v", "--work", "w", "--export", "e", "--config", str(tmp_path / "wrong.toml")],
    )
    assert answer.exit_code == 1
    assert "clops" in answer.output


def test_a_training_can_begin_at_another_models_weights(
    config: PocketWanConfig, data: ClipSet, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    train_pocket_wan(config, TOML, tmp_path / "a", first, 1, None)
    begun: list[TextToVideo] = []
    still = config.model_copy(
        update={"training": config.training.model_copy(update={"steps": 1, "learning_rate": 1e-12})}
    )
    tokenizer = build_tokenizer()
    train_transformer(still, data, tokenizer, tmp_path / "b", lambda _, made: begun.append(made), first)
    kept = load_wan(first)
    for ours, theirs in ((begun[0].transformer, kept.network), (begun[0].text_encoder, kept.text_encoder)):
        expected = theirs.state_dict()
        assert all(
            torch.allclose(value, expected[name], atol=1e-5) for name, value in ours.state_dict().items()
        )
    with pytest.raises(PocketError, match=r"Training cannot begin at .*its transformer is missing or of"):
        train_transformer(still, data, tokenizer, tmp_path / "c", lambda *_: None, tmp_path / "nowhere")
    other = config.model_copy(
        update={"transformer": config.transformer.model_copy(update={"feed_forward": 64})}
    )
    with pytest.raises(PocketError, match=r"Training cannot begin at .* of another build"):
        train_transformer(other, data, tokenizer, tmp_path / "d", lambda *_: None, first)


def test_the_shipped_configuration_is_read() -> None:
    shipped = load_wan_config()
    assert shipped.frames % 4 == 1
    assert shipped.vae.crops[-1].frames == 9
    assert {one.frames for one in shipped.vae.long} == {shipped.frames}, "what it is to hold colours over"


def test_what_is_measured_is_not_trained_on(config: PocketWanConfig, tmp_path: Path) -> None:
    train_pocket_wan(config, TOML, tmp_path / "work", tmp_path / "made", 1, None)
    model = load_wan(tmp_path / "made")
    assert measure_wan(model, 1, steps=2) == measure_wan(model, 1, steps=2)
    trained = {caption(wan_scene(config, WAN_SEEDS + n), 0) for n in range(config.clips)}
    assert trained
    assert MEASURE_SEEDS > WAN_SEEDS + 10_000_000
