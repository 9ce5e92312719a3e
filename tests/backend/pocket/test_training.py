from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mattebox_backend.pocket.config import Phase, PocketSdConfig, load_config
from mattebox_backend.pocket.dataset import LatentSet, latent_set
from mattebox_backend.pocket.denoiser import (
    TextToLatent,
    draw_noise,
    min_snr_weight,
    stratified_levels,
    train_denoiser,
)
from mattebox_backend.pocket.errors import InvalidConfig, UnusableCheckpoint
from mattebox_backend.pocket.optimizer import Muon, orthogonalised
from mattebox_backend.pocket.seeds import VAE_SEEDS
from mattebox_backend.pocket.tokenizer import build_tokenizer
from mattebox_backend.pocket.vae import (
    CROWDED,
    build_vae,
    normalise_latents,
    reconstruct,
    to_pixels,
    train_vae,
)
from mattebox_backend.world.render import render_frame
from mattebox_backend.world.sampling import sample_scene
from transformers import CLIPTokenizer


@pytest.fixture
def tokenizer(tiny: PocketSdConfig) -> CLIPTokenizer:
    return build_tokenizer(tiny.text.length)


@pytest.fixture
def data(tiny: PocketSdConfig, tokenizer: CLIPTokenizer) -> LatentSet:
    rng = np.random.default_rng(0)
    tokens = tokenizer(["a red star"], padding="max_length").input_ids[0]
    return LatentSet(
        rng.standard_normal((12, 4, 4, 4)).astype(np.float16), np.full((12, 2, 32), tokens, np.int16)
    )


def _with_phases(config: PocketSdConfig, *phases: Phase) -> PocketSdConfig:
    return config.model_copy(update={"denoiser": config.denoiser.model_copy(update={"phases": phases})})


def _equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class _Stopped(Exception):
    pass


@pytest.mark.parametrize("last", [1, 2, 4], ids=["first phase", "between phases", "second phase"])
def test_a_broken_off_denoiser_training_ends_with_the_weights_of_an_unbroken_one(
    last: int, tiny: PocketSdConfig, tokenizer: CLIPTokenizer, data: LatentSet, tmp_path: Path
) -> None:
    def stop(step: int, models: TextToLatent) -> None:
        if step == last:
            raise _Stopped

    tiny = tiny.model_copy(update={"checkpoint_every": 1})
    whole = train_denoiser(tiny, data, tokenizer, tmp_path / "whole")
    with pytest.raises(_Stopped):
        train_denoiser(tiny, data, tokenizer, tmp_path / "broken", stop)
    resumed = train_denoiser(tiny, data, tokenizer, tmp_path / "broken")
    assert '"noise_error": ' in (tmp_path / "broken" / "progress.jsonl").read_text()
    assert _equal(whole.unet, resumed.unet)
    assert _equal(whole.text_encoder, resumed.text_encoder)


def test_training_moves_the_text_encoder_too(
    tiny: PocketSdConfig, tokenizer: CLIPTokenizer, data: LatentSet, tmp_path: Path
) -> None:
    short = train_denoiser(_with_phases(tiny, Phase(steps=1)), data, tokenizer, tmp_path / "one")
    longer = train_denoiser(_with_phases(tiny, Phase(steps=3)), data, tokenizer, tmp_path / "three")
    assert not _equal(short.text_encoder, longer.text_encoder)


def test_a_phase_can_be_added_to_a_finished_training(
    tiny: PocketSdConfig, tokenizer: CLIPTokenizer, data: LatentSet, tmp_path: Path
) -> None:
    first, second = tiny.denoiser.phases
    train_denoiser(_with_phases(tiny, first), data, tokenizer, tmp_path / "grown")
    grown = train_denoiser(tiny, data, tokenizer, tmp_path / "grown")
    at_once = train_denoiser(tiny, data, tokenizer, tmp_path / "at once")
    assert _equal(grown.unet, at_once.unet)
    assert second.optimizer == "muon"


def test_the_ends_of_the_last_phases_are_averaged(
    tiny: PocketSdConfig, tokenizer: CLIPTokenizer, data: LatentSet, tmp_path: Path
) -> None:
    both = tiny.model_copy(update={"denoiser": tiny.denoiser.model_copy(update={"averaged_phases": 2})})
    work = tmp_path / "work"
    first = train_denoiser(_with_phases(tiny, tiny.denoiser.phases[0]), data, tokenizer, work)
    second = train_denoiser(tiny, data, tokenizer, work)
    mean = train_denoiser(both, data, tokenizer, work)
    for part in ("unet", "text_encoder"):
        ends = [dict(getattr(models, part).named_parameters()) for models in (first, second)]
        for name, value in getattr(mean, part).named_parameters():
            halves = [end[name].half().float() for end in ends]
            assert torch.allclose(value, (halves[0] + halves[1]) / 2, atol=1e-7)
    assert not _equal(mean.unet, second.unet)


def test_more_phases_to_average_than_there_are_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[denoiser]\naveraged_phases = 2\n", encoding="utf-8")
    with pytest.raises(InvalidConfig, match="2 phases are to be averaged, but there are 1"):
        load_config(path)


def test_an_averaged_phase_whose_checkpoint_is_gone_is_named(
    tiny: PocketSdConfig, tokenizer: CLIPTokenizer, data: LatentSet, tmp_path: Path
) -> None:
    train_denoiser(tiny, data, tokenizer, tmp_path)
    (tmp_path / "denoiser-1.safetensors").unlink()
    both = tiny.model_copy(update={"denoiser": tiny.denoiser.model_copy(update={"averaged_phases": 2})})
    with pytest.raises(UnusableCheckpoint, match=r"denoiser-1\.safetensors is gone"):
        train_denoiser(both, data, tokenizer, tmp_path)


def test_every_batch_has_a_noise_level_out_of_each_part_of_the_schedule() -> None:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.stack([stratified_levels(10, 1000, generator) for _ in range(500)])
    assert torch.equal(drawn // 100, torch.arange(10).expand(500, 10))
    assert drawn.min() == 0
    assert drawn.max() == 999


def test_noise_has_an_offset_per_channel_of_the_asked_deviation() -> None:
    shape = (200, 4, 16, 16)
    white, offset = (draw_noise(shape, share, torch.Generator().manual_seed(3)) for share in (0.0, 0.5))
    difference = offset - white
    assert torch.allclose(difference, difference[..., :1, :1].expand(shape), atol=1e-6)
    assert difference[..., 0, 0].std() == pytest.approx(0.5, rel=0.06)
    assert white.std() == pytest.approx(1.0, rel=0.01)


def test_an_error_weighs_less_where_there_is_more_signal_than_five_times_the_noise() -> None:
    kept = torch.tensor([1e-4, 0.5, 5 / 6, 0.9, 0.999], dtype=torch.float64)
    assert min_snr_weight(kept).tolist() == pytest.approx([1, 1, 1, 5 / 9, 5 / 999])


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    matrices = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(1))
    made = orthogonalised(matrices)
    assert torch.all((torch.linalg.svdvals(made) - 1).abs() < 0.4)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    nearest = torch.nn.functional.cosine_similarity(made.flatten(1), (u @ v).flatten(1))
    assert torch.all(nearest > 0.97)


def _quadratic(parameters: list[torch.nn.Parameter]) -> torch.Tensor:
    return torch.stack([parameter.square().sum() for parameter in parameters]).sum()


def test_muon_steps_tall_wide_and_convolution_matrices_as_its_formula_says() -> None:
    torch.manual_seed(2)
    shapes = ((6, 4, 3, 3), (9, 4), (4, 9), (36, 6))
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    muon = Muon(parameters, 0.01)
    expected, momenta = [p.detach().clone() for p in parameters], [torch.zeros_like(p) for p in parameters]
    for _ in range(3):
        loss = _quadratic(parameters)
        loss.backward()
        for place, parameter in enumerate(parameters):
            gradient = parameter.grad
            assert gradient is not None
            momenta[place] = 0.95 * momenta[place] + 0.05 * gradient
            nesterov = (0.05 * gradient + 0.95 * momenta[place]).flatten(1)
            u, _, v = torch.linalg.svd(nesterov, full_matrices=False)
            step = 0.2 * max(nesterov.shape) ** 0.5 * (u @ v)
            expected[place] = expected[place] * (1 - 0.01 * 0.01) - 0.01 * step.reshape(parameter.shape)
        muon.step()
        muon.zero_grad()
    for parameter, value in zip(parameters, expected, strict=True):
        # Newton-Schulz ends at singular values of 0.7 to 1.2 where the formula has 1
        moved = 3 * 0.01 * 0.2 * max(parameter.flatten(1).shape) ** 0.5
        assert torch.linalg.matrix_norm((parameter - value).flatten(1), 2) < 0.45 * moved


def test_muon_takes_a_closure_like_any_optimizer() -> None:
    matrix = torch.nn.Parameter(torch.eye(3))
    muon = Muon([matrix], 0.1)

    def closure() -> float:
        muon.zero_grad()
        loss = _quadratic([matrix])
        loss.backward()
        return float(loss.detach())

    losses = [muon.step(closure) for _ in range(3)]
    assert losses[0] == 3
    assert losses[0] > losses[1] > losses[2]


def test_muon_decays_the_weights_as_much_as_it_is_told() -> None:
    matrix = torch.nn.Parameter(torch.eye(3))
    muon = Muon([matrix], 0.1, weight_decay=0.5)
    matrix.grad = torch.zeros_like(matrix)
    muon.step()
    torch.testing.assert_close(matrix.detach(), 0.95 * torch.eye(3))


def test_the_autoencoder_resumes_to_equal_weights(tiny: PocketSdConfig, tmp_path: Path) -> None:
    once = train_vae(tiny, tmp_path)
    again = train_vae(tiny, tmp_path)
    assert _equal(once, again)


def test_normalised_latents_have_unit_channels_and_decode_to_the_same_picture(tiny: PocketSdConfig) -> None:
    torch.manual_seed(3)
    vae = build_vae(tiny.vae, tiny.size).eval().requires_grad_(False)
    size, numbers = tiny.size, range(tiny.vae.pool)
    scenes = [sample_scene(VAE_SEEDS + n, CROWDED, width=size, height=size) for n in numbers]
    pixels = to_pixels(np.stack([render_frame(scene, n % scene.frames) for n, scene in enumerate(scenes)]))
    before = vae.encode(pixels).latent_dist
    picture = reconstruct(vae, pixels)

    normalise_latents(vae, tiny)

    after = vae.encode(pixels).latent_dist
    assert torch.allclose(after.mean.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-3)
    assert torch.allclose(after.mean.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3)
    spread = before.mean.std(dim=(0, 2, 3)).view(1, 4, 1, 1)
    assert torch.allclose(after.std * spread, before.std, rtol=1e-3)
    assert torch.allclose(reconstruct(vae, pixels), picture, atol=1e-4)


def test_a_checkpoint_of_another_configuration_is_refused(tiny: PocketSdConfig, tmp_path: Path) -> None:
    train_vae(tiny, tmp_path)
    with pytest.raises(UnusableCheckpoint, match="another configuration"):
        train_vae(tiny.model_copy(update={"seed": 6}), tmp_path)


def test_a_damaged_checkpoint_is_named(tiny: PocketSdConfig, tmp_path: Path) -> None:
    (tmp_path / "vae.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(UnusableCheckpoint, match=r"vae\.safetensors is damaged"):
        train_vae(tiny, tmp_path)


def test_the_set_of_latents_has_unit_variance_and_several_captions(
    tiny: PocketSdConfig, tokenizer: CLIPTokenizer, tmp_path: Path
) -> None:
    vae = train_vae(tiny, tmp_path)
    made = latent_set(tiny, vae, tokenizer, tmp_path)
    read = latent_set(tiny, vae, tokenizer, tmp_path)
    assert made.latents.shape == (12, 4, 4, 4)
    assert made.tokens.shape == (12, 6, 32)
    assert float(made.latents.std()) == pytest.approx(1, abs=0.5)
    assert np.array_equal(made.latents, read.latents)
    assert np.array_equal(made.tokens, read.tokens)
