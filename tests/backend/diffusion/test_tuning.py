"""One-shot tuning on the tiny model: what is trained, what stays as it was, what is kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from mattebox_backend.attention import Reach, SiteKind
from mattebox_backend.backbones.inflated import inflate, tuned_parameters, with_weights
from mattebox_backend.diffusion.denoiser import Denoiser, Windows
from mattebox_backend.diffusion.tuning import TunedWeights, TuningCheckpoint, TuningPlan, tune

PLAN = TuningPlan(steps=12, learning_rate=3e-3)


def weights_of(backbone: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in backbone.unet.state_dict().items()}


def clip() -> torch.Tensor:
    return 0.5 * torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(2))


def predict(backbone: Any, reach: Reach = Reach.FIRST_AND_PREVIOUS) -> torch.Tensor:
    text = backbone.embed("a red circle").states.unsqueeze(0)
    with torch.no_grad():
        found: torch.Tensor = backbone.predict(clip().unsqueeze(0), 300, text, ["edit"], reach=reach)
    return found


def test_an_inflated_model_predicts_what_the_image_model_does_until_it_is_tuned(backbone: Any) -> None:
    inflated = inflate(backbone)
    torch.testing.assert_close(predict(inflated), predict(backbone), atol=1e-6, rtol=1e-6)
    temporal = [site for site in inflated.attention_sites() if site.kind is SiteKind.TEMPORAL]
    assert len(temporal) == len([s for s in backbone.attention_sites() if s.kind is SiteKind.SELF])
    assert inflated.identity != backbone.identity


def test_tuning_trains_queries_and_temporal_attention_and_leaves_the_given_model_alone(backbone: Any) -> None:
    before = weights_of(backbone)
    inflated = inflate(backbone)
    untuned = weights_of(inflated)
    told: list[tuple[int, int]] = []
    text = backbone.embed("a red circle").states
    tune(Denoiser(inflated, Reach.OWN), clip(), text, PLAN, lambda *step: told.append(step))
    changed = {name for name, value in weights_of(inflated).items() if not torch.equal(value, untuned[name])}
    assert changed == {name for name, _ in tuned_parameters(inflated)}
    assert {name.split(".")[-3] for name in changed if "to_q" in name} == {"attn1", "attn2", "attn_temp"}
    assert all(torch.equal(value, before[name]) for name, value in weights_of(backbone).items())
    assert not any(parameter.requires_grad for parameter in inflated.unet.parameters())
    assert told == [(step + 1, 12) for step in range(12)]


def test_tuning_lowers_the_error_on_its_clip_and_is_the_same_every_time(backbone: Any) -> None:
    def error(model: Any) -> float:
        text = backbone.embed("a red circle").states.unsqueeze(0)
        noise = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(9))
        total = 0.0
        for timestep in (100, 400, 700):
            alpha = float(model.schedule.alphas[timestep])
            noisy = (alpha**0.5 * clip() + (1 - alpha) ** 0.5 * noise).unsqueeze(0)
            with torch.no_grad():
                found = model.predict(noisy, timestep, text, ["edit"], reach=Reach.OWN)[0]
            total += float((found - noise).square().mean())
        return total

    text = backbone.embed("a red circle").states
    plan = dataclasses.replace(PLAN, steps=60)
    tuned = [inflate(backbone) for _ in range(2)]
    weights = [tune(Denoiser(model, Reach.OWN), clip(), text, plan, lambda *_: None) for model in tuned]
    assert error(tuned[0]) < error(backbone)
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_frames_of_one_window_alone_are_trained_on_together(
    backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inflated = inflate(backbone)
    seen = set()
    original = type(backbone).predict

    def watched(self: Any, *args: Any, frames: range, **kwargs: Any) -> torch.Tensor:
        seen.add(frames)
        return original(self, *args, frames=frames, **kwargs)

    monkeypatch.setattr(type(backbone), "predict", watched)
    text = backbone.embed("a red circle").states
    tune(Denoiser(inflated, windows=Windows(2, 1)), clip(), text, PLAN, lambda *_: None)
    assert seen == {range(2), range(1, 3)}


def test_a_run_that_is_stopped_leaves_nothing_to_train(backbone: Any) -> None:
    inflated = inflate(backbone)

    def stop(step: int, of: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(Denoiser(inflated), clip(), backbone.embed("").states, PLAN, stop)
    assert not any(p.requires_grad or p.grad is not None for p in inflated.unet.parameters())


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("last", [1, 7, 12], ids=["before a checkpoint", "after one", "at the end"])
def test_a_killed_tuning_goes_on_and_ends_in_the_same_bits(backbone: Any, tmp_path: Path, last: int) -> None:
    text = backbone.embed("a red circle").states
    checkpoint = TuningCheckpoint(tmp_path / "job" / "tuning.safetensors", "this clip", every=3)

    def run(told: list[int], stop: int | None, kept: TuningCheckpoint | None) -> dict[str, torch.Tensor]:
        def progress(step: int, of: int) -> None:
            told.append(step)
            if step == stop:
                raise _Killed

        denoiser = Denoiser(inflate(backbone), windows=Windows(2, 1))
        return tune(denoiser, clip(), text, PLAN, progress, kept)

    whole = run([], None, None)
    with pytest.raises(_Killed):
        run([], last, checkpoint)
    told: list[int] = []
    resumed = run(told, None, checkpoint)
    assert told == list(range(last - last % 3 + 1, 13))
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())
    assert [file.name for file in checkpoint.file.parent.iterdir()] == [checkpoint.file.name]
    checkpoint.remove()
    assert not checkpoint.file.exists()


@pytest.mark.parametrize("spoil", ["another clip", "damaged"])
def test_a_checkpoint_that_is_not_of_this_tuning_is_not_taken_up(
    backbone: Any, tmp_path: Path, spoil: str
) -> None:
    text = backbone.embed("a red circle").states
    file = tmp_path / "tuning.safetensors"
    whole = tune(
        Denoiser(inflate(backbone)), clip(), text, PLAN, lambda *_: None, TuningCheckpoint(file, "one", 4)
    )
    if spoil == "damaged":
        file.write_bytes(file.read_bytes()[:1000])
    told: list[int] = []
    again = tune(
        Denoiser(inflate(backbone)),
        clip(),
        text,
        PLAN,
        lambda step, of: told.append(step),
        TuningCheckpoint(file, "one" if spoil == "damaged" else "other", 4),
    )
    assert told == list(range(1, 13))
    assert all(torch.equal(value, whole[name]) for name, value in again.items())


def test_kept_weights_come_back_bit_for_bit_and_damaged_ones_are_dropped(
    backbone: Any, tmp_path: Path
) -> None:
    inflated = inflate(backbone)
    weights = tune(Denoiser(inflated), clip(), backbone.embed("").states, PLAN, lambda *_: None)
    store = TunedWeights(tmp_path / "cache" / "x.safetensors")
    assert store.find() is None
    store.add(weights)
    found = store.find()
    assert found is not None
    again = with_weights(inflate(backbone), found, "x")
    assert torch.equal(predict(again), predict(inflated))
    assert again.identity not in (inflated.identity, backbone.identity)
    store.file.write_bytes(store.file.read_bytes()[:100])
    assert store.find() is None
    assert not store.file.exists()
