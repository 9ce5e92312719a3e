"""The training loop: its loss against the formula written out, its checkpoints, and where it stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.lora.adapter import AdapterPlan, adapted, adapter_weights
from mattebox_backend.lora.samples import (
    Footage,
    appearance_samples,
    hidden,
    motion_samples,
    placed_samples,
    recoloured,
)
from mattebox_backend.lora.told import Told
from mattebox_backend.lora.training import (
    Lesson,
    TrainingCheckpoint,
    TrainingDiverged,
    TrainingPlan,
    train_adapter,
)

PLAN = AdapterPlan(rank=2, alpha=4.0)


@pytest.fixture(autouse=True)
def single_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def footage() -> Footage:
    rng = np.random.default_rng(3)
    frames = rng.integers(0, 255, (5, 32, 48, 3), np.uint8)
    edited = np.zeros((5, 32, 48), np.bool_)
    edited[:, 8:24, 8:30] = True
    return Footage(frames, edited)


@pytest.fixture
def lesson(wan: Any, footage: Footage) -> Lesson:
    return Lesson(motion_samples(wan, footage, Told.REGION, "a red circle", (range(5),)))


def train(wan: Any, lesson: Lesson, plan: TrainingPlan, file: Path, told: Any = lambda *_: None) -> Any:
    with adapted(wan, PLAN, seed=1) as parameters:
        losses = train_adapter(wan, parameters, lesson, plan, TrainingCheckpoint(file, "key"), told)
        return losses, adapter_weights(wan)


def test_the_first_loss_is_the_squared_error_of_the_velocity(
    wan: Any, lesson: Lesson, tmp_path: Path
) -> None:
    plan = TrainingPlan(1, 1e-3, draws=2, shift=3.0)
    losses, _ = train(wan, lesson, plan, tmp_path / "state")
    generator = torch.Generator().manual_seed(plan.seed)
    torch.multinomial(torch.ones(1, dtype=torch.float64), 1, generator=generator)
    expected = []
    sample = lesson.samples[0]
    for _ in range(2):
        even = float(torch.rand((), generator=generator))
        sigma = 3 * even / (1 + 2 * even)
        noise = torch.randn(sample.target.shape, generator=generator)
        noisy = torch.empty_like(noise)
        for place in np.ndindex(*noise.shape):
            noisy[place] = (1 - sigma) * sample.target[place] + sigma * noise[place]
        inputs = torch.cat([noisy, sample.condition], 1).transpose(0, 1).unsqueeze(0)
        with torch.no_grad():
            velocity = wan.network(
                hidden_states=inputs,
                timestep=torch.tensor([sigma * 1000]),
                return_dict=False,
                **sample.prompt.inputs,
            )[0][0].transpose(0, 1)
        error = [
            (float(velocity[place]) - float(noise[place] - sample.target[place])) ** 2
            for place in np.ndindex(*noise.shape)
        ]
        expected.append(sum(error) / len(error))
    assert losses == pytest.approx([sum(expected) / 2], rel=1e-5)


def test_training_lowers_the_loss_and_touches_the_adapter_alone(
    wan: Any, lesson: Lesson, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in wan.network.state_dict().items()}
    losses, weights = train(wan, lesson, TrainingPlan(30, 2e-2, draws=2), tmp_path / "state")
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert all(torch.equal(wan.network.state_dict()[name], value) for name, value in before.items())
    assert any(value.abs().max() > 0 for name, value in weights.items() if "lora_B" in name)


def test_a_fresh_adapter_changes_nothing_and_one_that_is_put_back_is_what_it_was(
    wan: Any, lesson: Lesson, tmp_path: Path
) -> None:
    sample = lesson.samples[0]
    latents = torch.randn(1, *sample.target.shape, generator=torch.Generator().manual_seed(1))

    def answer() -> torch.Tensor:
        with torch.no_grad():
            return torch.as_tensor(wan.predict(latents, 500.0, sample.condition, [sample.prompt]))

    plain = answer()
    with adapted(wan, PLAN, seed=1):
        assert torch.allclose(answer(), plain, atol=1e-6)
    _, weights = train(wan, lesson, TrainingPlan(3, 1e-1), tmp_path / "state")
    with adapted(wan, PLAN, weights):
        assert not torch.allclose(answer(), plain, atol=1e-4)
    assert torch.equal(answer(), plain)


def test_an_interrupted_training_ends_in_the_same_bits(wan: Any, lesson: Lesson, tmp_path: Path) -> None:
    plan = TrainingPlan(24, 1e-2)
    losses, weights = train(wan, lesson, plan, tmp_path / "whole")

    def stop(step: int, loss: float) -> None:
        if step == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(wan, lesson, plan, tmp_path / "broken", stop)
    steps: list[int] = []
    again, resumed = train(wan, lesson, plan, tmp_path / "broken", lambda step, _: steps.append(step))
    assert steps[0] == 11
    assert again == losses
    assert all(torch.equal(resumed[name], value) for name, value in weights.items())


def test_a_damaged_or_foreign_checkpoint_is_no_checkpoint(wan: Any, lesson: Lesson, tmp_path: Path) -> None:
    plan = TrainingPlan(12, 1e-2)
    file = tmp_path / "state"
    losses, _ = train(wan, lesson, plan, file)
    file.write_bytes(b"no tensors")
    assert train(wan, lesson, plan, file)[0] == losses
    with adapted(wan, PLAN, seed=1) as parameters:
        steps: list[int] = []
        other = TrainingCheckpoint(file, "another key")
        train_adapter(wan, parameters, lesson, plan, other, lambda step, _: steps.append(step))
    assert steps[0] == 1


def test_a_loss_that_is_not_finite_stops_before_it_does_harm(
    wan: Any, lesson: Lesson, tmp_path: Path
) -> None:
    with pytest.raises(TrainingDiverged, match=r"A lower learning rate than 1e\+30") as raised:
        train(wan, lesson, TrainingPlan(20, 1e30), tmp_path / "state")
    assert all(torch.isfinite(value).all() for value in raised.value.weights.values())
    assert 0 <= raised.value.steps < 19


def test_what_is_learnt_of_a_reference_does_not_stand_in_what_is_told(wan: Any, footage: Footage) -> None:
    """Appendix B.3: condition and the picture that CLIP sees are the same whatever the reference shows."""
    told = []
    for colour in (0, 255):
        picture = np.where(footage.edited[2][..., None], np.uint8(colour), footage.frames[2])
        (sample,) = appearance_samples(wan, footage, {2: picture}, Told.REGION, "a hat")
        told.append(sample)
    assert torch.equal(told[0].condition, told[1].condition)
    assert all(
        torch.equal(told[0].prompt.inputs[name], told[1].prompt.inputs[name])
        for name in told[0].prompt.inputs
    )
    assert not torch.equal(told[0].target, told[1].target)
    assert told[0].target.shape[0] == 1
    (leaking,) = appearance_samples(wan, footage, {2: picture}, Told.FIRST, "a hat")
    assert not torch.equal(leaking.condition, told[1].condition)
    assert (leaking.condition[:, :4] == 1).all()


def test_every_reference_is_a_sample_of_its_own(wan: Any, footage: Footage) -> None:
    pictures = {frame: footage.frames[frame] for frame in (4, 1)}
    samples = appearance_samples(wan, footage, pictures, Told.REGION, "a hat")
    assert [sample.target.shape[0] for sample in samples] == [1, 1]
    assert torch.equal(samples[0].target, wan.encode(footage.frames[1:2]))


def test_a_reference_in_its_place_counts_in_its_latent_frame_alone(wan: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    footage = Footage(rng.integers(0, 255, (13, 32, 48, 3), np.uint8), np.zeros((13, 32, 48), np.bool_))
    footage.edited[:, 8:24, 8:30] = True
    pictures = {frame: rng.integers(0, 255, (32, 48, 3), np.uint8) for frame in (0, 6)}
    (sample,) = placed_samples(wan, footage, pictures, Told.REGION, "a hat", (range(13),))
    made, given, known = footage.frames.copy(), footage.frames.copy(), ~footage.edited
    made[0] = given[0] = pictures[0]
    known[0] = True
    made[5:9] = pictures[6]  # frames 5 to 8 share a latent
    assert torch.equal(sample.target, wan.encode(made))
    assert torch.equal(sample.condition, wan.condition(given, known))
    assert sample.counted is not None
    assert sample.counted.tolist() == [False, False, True, False]

    plan = TrainingPlan(1)
    losses, _ = train(wan, Lesson([sample]), plan, tmp_path / "state")
    generator = torch.Generator().manual_seed(plan.seed)
    torch.multinomial(torch.ones(1, dtype=torch.float64), 1, generator=generator)
    sigma = float(torch.rand((), generator=generator))
    noise = torch.randn(sample.target.shape, generator=generator)
    with torch.no_grad(), adapted(wan, PLAN, seed=1):
        noisy = (1 - sigma) * sample.target + sigma * noise
        velocity = wan.predict(noisy[None], sigma * 1000, sample.condition, [sample.prompt])[0]
    error = velocity[2] - (noise - sample.target)[2]
    assert losses[0] == pytest.approx(float(error.square().mean()), rel=1e-5)


def test_a_window_without_a_picture_at_its_beginning_is_not_told_how_the_source_looks(wan: Any) -> None:
    rng = np.random.default_rng(6)
    footage = Footage(rng.integers(0, 255, (13, 32, 48, 3), np.uint8), np.zeros((13, 32, 48), np.bool_))
    footage.edited[:, 8:24, 8:30] = True
    pictures = {frame: rng.integers(0, 255, (32, 48, 3), np.uint8) for frame in (0, 11)}
    windows = (range(9), range(4, 13))
    (sample,) = placed_samples(wan, footage, pictures, Told.REGION, "a hat", windows)
    part = footage.part(windows[1])
    assert torch.equal(sample.condition, wan.condition(part.frames, ~part.edited))
    assert sample.counted is not None
    assert sample.counted.tolist() == [False, False, True]


def test_hidden_pixels_are_grey(footage: Footage) -> None:
    found = hidden(footage.frames[0], ~footage.edited[0])
    assert (found[footage.edited[0]] == 128).all()
    assert (found[~footage.edited[0]] == footage.frames[0][~footage.edited[0]]).all()


def test_lessons_are_drawn_by_their_shares(lesson: Lesson) -> None:
    samples: list[Any] = [object(), object()]
    generator = torch.Generator().manual_seed(0)
    drawn = [Lesson(samples, [0.25, 0.75]).draw(generator) for _ in range(400)]
    assert 70 < sum(one is samples[0] for one in drawn) < 130


def test_mixed_lessons_are_drawn_by_the_shares_of_both() -> None:
    samples: list[Any] = [object(), object(), object()]
    inner = Lesson(samples[:2], [0.25, 0.75])
    mixed = Lesson.mixed((inner, 0.4), (Lesson(samples[2:]), 0.6))
    assert mixed.samples == samples
    assert mixed.shares == pytest.approx([0.1, 0.3, 0.6])


def test_recoloured_clips_move_alike_in_every_other_order_of_the_channels(footage: Footage) -> None:
    clips = list(recoloured(footage))
    assert len({clip.frames.tobytes() for clip in [footage, *clips]}) == 6
    for clip in clips:
        assert clip.edited is footage.edited
        assert (np.sort(clip.frames, axis=-1) == np.sort(footage.frames, axis=-1)).all()
