"""pocket-roi: its network, its losses against their formulae, its data, and its training."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mattebox_backend.attention import CallLayout, Reach, SiteKind
from mattebox_backend.backbones import load_backbone
from mattebox_backend.backbones.region_diffusion import RegionDiffusion
from mattebox_backend.backbones.region_network import RegionCondition, RegionDesign, RegionNetwork
from mattebox_backend.device import Device
from mattebox_backend.errors import ModelRefused
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.pocket.config import PocketSdConfig, method_defaults
from mattebox_backend.pocket.denoiser import TextToLatent, build_denoiser, min_snr_weight
from mattebox_backend.pocket.errors import InvalidConfig, UnusableCheckpoint
from mattebox_backend.pocket.export import export_pocket_sd
from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.roi.config import (
    DataConfig,
    LossConfig,
    PocketRoiConfig,
    TrainingConfig,
    load_roi_config,
)
from mattebox_backend.pocket.roi.dataset import PairSet, encode_pairs, pair_set, word_places
from mattebox_backend.pocket.roi.edits import MASK_MODES, sample_pair
from mattebox_backend.pocket.roi.export import export_pocket_roi
from mattebox_backend.pocket.roi.losses import Target, losses
from mattebox_backend.pocket.roi.measure import measure_roi
from mattebox_backend.pocket.roi.network import connect, grow
from mattebox_backend.pocket.roi.training import draw_batch, train_roi
from mattebox_backend.pocket.text import build_text_encoder, token_ids
from mattebox_backend.pocket.tokenizer import build_tokenizer
from mattebox_backend.pocket.vae import build_vae

CPU = Device("cpu", 0, "float32")
PLAIN = RegionDesign(*[False] * len(fields(RegionDesign)))


@pytest.fixture
def base(tiny: PocketSdConfig) -> PocketSd:
    torch.manual_seed(1)
    tokenizer = build_tokenizer(tiny.text.length)
    unet = build_denoiser(tiny.denoiser, tiny.text.width, tiny.size // 8)
    models = TextToLatent(unet.eval(), build_text_encoder(tiny.text, tokenizer).eval())
    return PocketSd(build_vae(tiny.vae, tiny.size).eval(), tokenizer, models, 0.1)


@pytest.fixture
def config() -> PocketRoiConfig:
    return PocketRoiConfig(
        checkpoint_every=1,
        data=DataConfig(scenes=6, whole=0.3, empty_prompt=0.3),
        training=TrainingConfig(steps=3, batch=4, warmup=1, bfloat16=False),
    )


def layout_of(branches: int, frames: int) -> CallLayout:
    return CallLayout(tuple(map(str, range(branches))), range(frames), (4, 4), Reach.OWN)


def condition_of(branches: int, frames: int, length: int, seed: int = 0) -> RegionCondition:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(branches, frames, 1, 4, 4, generator=generator)
    source = torch.randn(branches, frames, 4, 4, 4, generator=generator)
    shares = torch.rand(branches, 2, frames, 4, 4, generator=generator)
    words = (torch.rand(branches, 2, length, generator=generator) > 0.7).float()
    return RegionCondition(mask, source, shares, words)


def varied(network: RegionNetwork) -> RegionNetwork:
    """All that begins as zero gets a value."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in [*network.pyramid, network.self_bias, network.routing, network.unet.conv_in.weight]:
            parameter.add_(torch.randn(parameter.shape, generator=generator))
        network.unet.conv_out.bias.add_(torch.arange(network.unet.conv_out.bias.numel()).float())
    return network.eval()


@pytest.mark.parametrize("design", [RegionDesign(), PLAIN, replace(PLAIN, two_paths=True)])
@torch.no_grad()
def test_before_it_learns_it_predicts_what_pocket_sd_does(base: PocketSd, design: RegionDesign) -> None:
    network = grow(base.models.unet, design).eval()
    connect(network)
    noisy, levels = torch.randn(2, 3, 4, 4, 4), torch.tensor([10, 10, 10, 700, 700, 700])
    text = torch.randn(2, 32, 16)
    found = network(noisy, levels, text, condition_of(2, 3, 32), layout_of(2, 3))
    plain = base.models.unet(noisy.flatten(0, 1), levels, text.repeat_interleave(3, 0)).sample
    torch.testing.assert_close(found.flatten(0, 1), plain, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [field.name for field in fields(RegionDesign)])
@torch.no_grad()
def test_every_mechanism_can_be_left_out_and_matters(base: PocketSd, name: str) -> None:
    noisy, text = torch.randn(1, 2, 4, 4, 4), torch.randn(1, 32, 16)
    found = []
    for design in (replace(PLAIN, **{name: True}), PLAIN):
        network = varied(grow(base.models.unet, design))
        connect(network)
        told = [
            network(noisy, 100, text, condition_of(1, 2, 32, seed), layout_of(1, 2)) for seed in (0, 0, 1)
        ]
        assert torch.equal(told[0], told[1])
        same_source = replace(condition_of(1, 2, 32, 1), source=condition_of(1, 2, 32, 0).source)
        other = network(noisy, 100, text, same_source, layout_of(1, 2))
        found.append(not torch.allclose(told[0], other, atol=1e-5))
    assert found == [True, False], "a network without any mechanism saw the mask, or one with it did not"


@torch.no_grad()
def test_the_heads_are_mixed_by_the_mask(base: PocketSd) -> None:
    network = grow(base.models.unet, replace(PLAIN, experts=True)).eval()
    connect(network)
    network.unet.conv_out.bias[4:] += 3.0
    plain = grow(base.models.unet, PLAIN).eval()
    connect(plain)
    noisy, text, condition = torch.randn(1, 2, 4, 4, 4), torch.randn(1, 32, 16), condition_of(1, 2, 32)
    found, one = (n(noisy, 5, text, condition, layout_of(1, 2)) for n in (network, plain))
    torch.testing.assert_close(found, one + 3.0 * (1 - condition.mask), atol=1e-4, rtol=1e-4)


def pooled(values: torch.Tensor, step: int) -> torch.Tensor:
    """The mean of every `step` × `step` cells: (…, h·w)."""
    return values.unfold(-2, step, step).unfold(-2, step, step).mean((-1, -2)).flatten(-2)


def test_what_is_learnt_of_attention_is_that_of_the_formulae(base: PocketSd) -> None:
    from mattebox_backend.attention import AttentionCall
    from mattebox_backend.backbones.stable_diffusion import find_sites

    network = varied(grow(base.models.unet, RegionDesign()))
    condition = condition_of(2, 3, 32)
    with torch.no_grad():
        connect(network)
        network(torch.randn(2, 3, 4, 4, 4), 5, torch.randn(2, 32, 16), condition, layout_of(2, 3))
        for place, kind in enumerate((SiteKind.SELF, SiteKind.CROSS)):
            sites = [site for site in find_sites(network.unet) if site.kind is kind]
            for number, site in enumerate(sites):
                grid, keys = site.grid(4, 4), (0, 1) if place == 0 else ()
                call = AttentionCall(site, ("0", "1"), range(1, 2), keys, grid, 32, torch.device("cpu"))
                (term,) = network.terms(call)
                bias = (term.query @ term.key.transpose(-1, -2))[:, 0]
                step = 4 // grid[0]
                for branch in range(2):
                    if kind is SiteKind.SELF:
                        gamma, delta, eta = network.self_bias[number]
                        mask = pooled(condition.mask[branch, :, 0], step)
                        m, k = mask[1][:, None], torch.cat([mask[0], mask[1]])[None]
                        expected = gamma * m * k + delta * m * (1 - k) + eta * (1 - m) * k
                    else:
                        shares = pooled(condition.shares[branch, :, 1], step)
                        expected = network.routing[number] * shares.T @ condition.words[branch]
                    torch.testing.assert_close(bias[branch], expected, atol=1e-5, rtol=1e-4)


def test_gradients_reach_all_that_is_learnt(base: PocketSd) -> None:
    network = grow(base.models.unet, RegionDesign())
    connect(network)
    noisy, text = torch.randn(2, 2, 4, 4, 4), torch.randn(2, 32, 16)
    network(noisy, 100, text, condition_of(2, 2, 32), layout_of(2, 2)).square().mean().backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # The key projection's part that is the same for all keys has no effect, as in any attention.
    assert not missing, missing


def target_of(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Target]:
    generator = torch.Generator().manual_seed(5)
    predicted, noisy, noise, edited, source = torch.randn(
        5, 2, 3, 4, 6, 5, generator=generator, dtype=torch.float64
    )
    features = torch.randn(2, 3, 7, 3, 5, generator=generator, dtype=torch.float64)
    kept = torch.tensor([0.3, 0.97], dtype=torch.float64)
    return predicted, features, Target(noisy, noise, edited, source, mask, kept)


@pytest.mark.parametrize("kind", ["soft", "empty", "one cell", "whole"])
@pytest.mark.parametrize("normalised", [True, False])
def test_the_losses_are_those_of_the_formulae(kind: str, normalised: bool) -> None:
    mask = torch.zeros(2, 3, 1, 6, 5, dtype=torch.float64)
    if kind == "soft":
        mask = torch.rand(mask.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    elif kind == "one cell":
        mask[:, :, 0, 2, 3] = 1
    elif kind == "whole":
        mask += 1
    predicted, features, target = target_of(mask)
    config = LossConfig(
        region=3.0, background=0.5, normalised=normalised, edit=0.7, preserve=0.4, temporal=0.2
    )
    found = losses(predicted, features, target, config)
    denoise = edit = preserve = 0.0
    m = mask.numpy()
    for b in range(2):
        alpha = float(target.kept[b])
        weigh = float(min_snr_weight(target.kept[b : b + 1]))
        for f in range(3):
            weights = 3.0 * m[b, f, 0] ** 2 + 0.5 * (1 - m[b, f, 0]) ** 2
            error = predicted[b, f].numpy() - target.noise[b, f].numpy()
            clean = target.noisy[b, f].numpy() - np.sqrt(1 - alpha) * predicted[b, f].numpy()
            clean = clean / np.sqrt(alpha)
            if normalised:
                weights = weights * weights.size / weights.sum()
            for y in range(6):
                for x in range(5):
                    for c in range(4):
                        denoise += weigh * weights[y, x] * error[c, y, x] ** 2
                        inside = m[b, f, 0, y, x]
                        e = abs(clean[c, y, x] - float(target.edited[b, f, c, y, x]))
                        p = abs(clean[c, y, x] - float(target.source[b, f, c, y, x]))
                        edit += np.sqrt(alpha) * inside * e
                        preserve += np.sqrt(alpha) * (1 - inside) * p
    count = predicted.numel()
    assert float(found["denoise"]) == pytest.approx(denoise / count, rel=1e-9)
    assert float(found["edit"]) == pytest.approx(0.7 * edit / count, rel=1e-9, abs=1e-12)
    assert float(found["preserve"]) == pytest.approx(0.4 * preserve / count, rel=1e-9, abs=1e-12)
    coarse = torch.nn.functional.adaptive_avg_pool2d(mask[:, :, 0], (3, 5)).numpy()
    temporal = 0.0
    for b in range(2):
        for f in range(2):
            weights = coarse[b, f] * coarse[b, f + 1]
            temporal += (weights * (features[b, f + 1] - features[b, f]).numpy() ** 2).sum()
    assert float(found["temporal"]) == pytest.approx(
        0.2 * temporal / (2 * 2 * 7 * 3 * 5), rel=1e-9, abs=1e-12
    )


def test_one_frame_has_no_temporal_loss() -> None:
    predicted, features, target = target_of(torch.ones(2, 3, 1, 6, 5, dtype=torch.float64))
    one = Target(*(getattr(target, f.name)[:, :1] for f in fields(Target)[:-1]), kept=target.kept)
    assert losses(predicted[:, :1], features[:, :1], one, LossConfig())["temporal"] == 0


def test_pairs_differ_inside_their_masks_alone_and_name_what_is_there() -> None:
    phrases = 0
    for seed in range(40):
        pair = sample_pair(seed, 64)
        covered = np.max([modes[0] for modes in pair.masks], axis=0) > 0
        # The tips of a star are blurred over two pixels, which may lie outside its silhouette.
        grown = np.stack([cv2.dilate(m.astype(np.uint8), np.ones((5, 5))) for m in covered]) > 0
        assert np.array_equal(pair.source[~grown], pair.edited[~grown]), seed
        assert (pair.source != pair.edited).any(), seed
        for modes, phrase in zip(pair.masks, pair.phrases, strict=True):
            assert len(modes) == len(MASK_MODES)
            assert all((wider >= modes[0]).all() for wider in modes[1:])
            phrases += phrase in pair.caption
        assert phrases > 0
    again = sample_pair(39, 64)
    assert np.array_equal(pair.edited, again.edited)


def test_pairs_are_encoded_with_their_words(base: PocketSd, tiny: PocketSdConfig, tmp_path: Path) -> None:
    pairs = [sample_pair(seed, tiny.size) for seed in range(5)]
    data = encode_pairs(base, pairs)
    assert data.source.shape == data.edited.shape == (5, 2, 4, 4, 4)
    assert data.masks.shape == (5, 3, 3, 2, 4, 4)
    for place, pair in enumerate(pairs):
        for region, phrase in enumerate(pair.phrases):
            tokens = data.tokens[place][data.words[place, region]].tolist()
            wanted = base.tokenizer(phrase, add_special_tokens=False).input_ids
            assert tokens[: len(wanted)] == wanted
        assert not data.words[place, len(pair.phrases) :].any()
        assert not data.masks[place, :, len(pair.phrases) :].any()
    assert word_places(base, "a red star and a red star", "a red star") == [1, 2, 3, 5, 6, 7]
    assert word_places(base, "a red star", "a blue star") == []
    made, read = pair_set(base, 5, tmp_path), pair_set(base, 5, tmp_path)
    for field in fields(PairSet):
        assert np.array_equal(getattr(made, field.name), getattr(read, field.name))


def test_a_batch_knows_nothing_of_what_is_masked(base: PocketSd, config: PocketRoiConfig) -> None:
    data = encode_pairs(base, [sample_pair(seed, 32) for seed in range(6)])
    empty = token_ids(base.tokenizer, [""])[0]
    wholes = silents = 0
    for seed in range(12):
        batch = draw_batch(data, config, empty, np.random.default_rng(seed))
        told = batch.condition
        free = (told.mask > 0).expand_as(told.source)
        assert not told.source[free].any()
        assert torch.equal(told.source[~free], batch.source[~free])
        for n in range(4):
            if (told.mask[n] == 1).all() and not told.shares[n].any():
                wholes += 1
                assert torch.equal(batch.source[n], batch.edited[n])
            if torch.equal(batch.tokens[n], empty):
                silents += 1
                assert not told.words[n].any()
    assert 0 < wholes < 48
    assert 0 < silents < 48


class _Stopped(Exception):
    pass


def _equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_broken_off_training_ends_with_the_weights_of_an_unbroken_one(
    base: PocketSd, config: PocketRoiConfig, tmp_path: Path
) -> None:
    data = encode_pairs(base, [sample_pair(seed, 32) for seed in range(6)])

    def stop(step: int, network: RegionNetwork) -> None:
        if step == 2:
            raise _Stopped

    whole = train_roi(config, base, "base", data, tmp_path / "whole")
    with pytest.raises(_Stopped):
        train_roi(config, base, "base", data, tmp_path / "broken", stop)
    resumed = train_roi(config, base, "base", data, tmp_path / "broken")
    assert _equal(whole, resumed)
    assert _equal(whole, train_roi(config, base, "base", data, tmp_path / "whole"))
    grown = grow(base.models.unet, RegionDesign())
    assert not torch.equal(grown.unet.conv_in.weight, whole.unet.conv_in.weight)
    with pytest.raises(UnusableCheckpoint, match="another configuration"):
        train_roi(config, base, "another base", data, tmp_path / "whole")


def test_every_term_of_the_loss_is_reported_and_their_sum_is_trained_on(
    base: PocketSd, config: PocketRoiConfig, tmp_path: Path
) -> None:
    data = encode_pairs(base, [sample_pair(seed, 32) for seed in range(6)])
    one = config.model_copy(update={"training": config.training.model_copy(update={"steps": 1})})
    whole = train_roi(one, base, "base", data, tmp_path / "whole")
    (told,) = map(json.loads, (tmp_path / "whole" / "progress.jsonl").read_text().splitlines())
    assert all(told[name] > 0 for name in ("denoise", "edit", "preserve", "temporal"))
    for name in ("edit", "preserve", "temporal"):
        losses_ = config.losses.model_copy(update={name: 0.0})
        without = train_roi(one.model_copy(update={"losses": losses_}), base, "base", data, tmp_path / name)
        assert not _equal(whole, without), name


@pytest.fixture
def models(base: PocketSd, tmp_path: Path) -> Path:
    """A folder with pocket-sd's like and a pocket-roi that grew from it, all of its biases set."""
    folder = tmp_path / "models"
    export_pocket_sd(folder / "pocket-sd", base.vae, base.tokenizer, base.models, {})
    network = varied(grow(base.models.unet, RegionDesign()))
    export_pocket_roi(
        folder / "small-roi", network, "pocket-sd", {"mattebox.json": method_defaults("pocket-roi")}
    )
    return folder


def test_it_is_found_and_loaded_through_the_registry(models: Path) -> None:
    registry = ModelRegistry([models])
    entry = next(entry for entry in registry.entries() if entry.id == "small-roi")
    assert (entry.available, entry.family) == (True, "region-diffusion")
    backbone = registry.load("small-roi", CPU)
    assert isinstance(backbone, RegionDiffusion)
    assert backbone.defaults["roi-aware"]
    assert backbone.identity == load_backbone(models / "small-roi", CPU).identity
    assert backbone.identity != load_backbone(models / "pocket-sd", CPU).identity
    text = backbone.embed("a red star").states.unsqueeze(0)
    latents = torch.randn(1, 2, 4, 4, 4)
    with torch.no_grad():
        found = backbone.predict(latents, 300, text, ["edit"], frames=range(1, 3))
    assert found.shape == latents.shape
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: f.joinpath("config.json").write_text("{}"), "reads region-diffusion of version 1"),
        (lambda f: (f / "mattebox.json").unlink(), "does not name the model that it grew from"),
        (
            lambda f: (f.parent / "pocket-sd").rename(f.parent / "away"),
            "is built on pocket-sd, which is not here",
        ),
        (lambda f: next((f / "region").glob("*")).write_bytes(b"torn"), "fetch the model again"),
        (lambda f: next((f / "unet").glob("*.safetensors")).unlink(), "no weights"),
    ],
)
def test_a_damaged_model_is_refused_in_words(models: Path, spoil: Any, words: str) -> None:
    spoil(models / "small-roi")
    with pytest.raises(ModelRefused, match=words):
        load_backbone(models / "small-roi", CPU)


def test_it_is_measured_on_unseen_pairs(base: PocketSd) -> None:
    network = grow(base.models.unet, RegionDesign()).eval().requires_grad_(False)
    figures = measure_roi(network, base, pairs=3, steps=2)
    assert figures.pairs == 3
    assert figures.objects >= 3
    assert 0 <= figures.both <= min(figures.colour, figures.shape) <= 1
    assert figures.region_psnr > 0


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "roi.toml"
    path.write_text("[losses]\nrigion = 3\n", encoding="utf-8")
    with pytest.raises(InvalidConfig, match=r"'losses\.rigion'"):
        load_roi_config(path)
    assert load_roi_config().design.experts
