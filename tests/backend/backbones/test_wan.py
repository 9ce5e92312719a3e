"""Wan image-to-video: what it encodes, what its network is told, and what cannot be loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, WanImageToVideoPipeline
from diffusers.pipelines.wan import pipeline_wan_i2v
from mattebox_backend.backbones import load_backbone, load_video_backbone, video_parts
from mattebox_backend.backbones.wan import Wan, pack_mask
from mattebox_backend.device import Device
from mattebox_backend.errors import InvalidEdit, ModelRefused
from mattebox_backend.models.registry import ModelRegistry
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

CPU = Device("cpu", 0, "float32")
FRAMES, HEIGHT, WIDTH = 9, 32, 48


@pytest.fixture
def frames() -> NDArray[np.uint8]:
    """(9, 32, 48, 3)."""
    return np.random.default_rng(1).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture
def latents() -> torch.Tensor:
    """(2, 3, 16, 4, 6): two branches over three latent frames."""
    return torch.randn(2, 3, 16, 4, 6, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def copied(tiny_wan: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_wan, tmp_path / "model"))


def known_but_for_a_box() -> NDArray[np.bool_]:
    """(9, 32, 48): the first frame whole, all others but for rows 8-15 and columns 20-31."""
    known = np.ones((FRAMES, HEIGHT, WIDTH), bool)
    known[1:, 8:16, 20:32] = False
    return known


def test_every_four_frames_become_a_latent_frame_and_the_first_one_its_own(
    wan: Wan, frames: NDArray[np.uint8]
) -> None:
    assert wan.frame_stride == 4
    assert wan.encode(frames).shape == (3, 16, 4, 6)
    assert wan.encode(frames[:1]).shape == (1, 16, 4, 6)
    decoded = list(wan.decode(wan.encode(frames)))
    assert [frame.shape for frame in decoded] == [(HEIGHT, WIDTH, 3)] * FRAMES
    assert all(frame.dtype == np.float32 for frame in decoded)
    assert 0 <= min(frame.min() for frame in decoded) < max(frame.max() for frame in decoded) <= 1


def test_latents_are_normalised_channel_by_channel_and_back(
    wan: Wan, tiny_wan: Path, frames: NDArray[np.uint8]
) -> None:
    vae = AutoencoderKLWan.from_pretrained(tiny_wan / "vae").eval()
    pixels = torch.from_numpy(frames).permute(3, 0, 1, 2).unsqueeze(0).float() / 127.5 - 1
    with torch.no_grad():
        expected = vae.encode(pixels).latent_dist.mode()[0]  # (16, 3, 4, 6)
        for channel in range(16):
            mean, spread = vae.config.latents_mean[channel], vae.config.latents_std[channel]
            expected[channel] = (expected[channel] - mean) / spread
        latents = wan.encode(frames)
        torch.testing.assert_close(latents, expected.transpose(0, 1), atol=1e-4, rtol=1e-4)
        given = latents.transpose(0, 1).clone()
        for channel in range(16):
            given[channel] = (
                given[channel] * vae.config.latents_std[channel] + vae.config.latents_mean[channel]
            )
        seen = (vae.decode(given.unsqueeze(0)).sample[0].permute(1, 2, 3, 0) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(
        torch.from_numpy(np.stack(list(wan.decode(latents)))), seen, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("latent_frames", [1, 2, 4])
def test_a_mask_is_packed_and_not_pooled(latent_frames: int) -> None:
    count = 4 * (latent_frames - 1) + 1
    cells = torch.rand(count, 3, 5, generator=torch.Generator().manual_seed(3))
    packed = pack_mask(cells, 4)
    assert packed.shape == (latent_frames, 4, 3, 5)
    for latent_frame in range(latent_frames):
        for channel in range(4):
            frame = 0 if latent_frame == 0 else 4 * (latent_frame - 1) + 1 + channel
            assert torch.equal(packed[latent_frame, channel], cells[frame])


def test_the_condition_says_of_every_cell_whether_all_of_it_is_known(
    wan: Wan, frames: NDArray[np.uint8]
) -> None:
    known = known_but_for_a_box()
    mask = wan.condition(frames, known)[:, :4]
    for latent_frame in range(3):
        for channel in range(4):
            frame = 0 if latent_frame == 0 else 4 * (latent_frame - 1) + 1 + channel
            for row in range(4):
                for column in range(6):
                    cell = known[frame, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
                    assert mask[latent_frame, channel, row, column] == float(cell.all())
    assert set(mask.unique().tolist()) == {0.0, 1.0}


def test_what_is_not_known_does_not_enter_the_condition(wan: Wan, frames: NDArray[np.uint8]) -> None:
    known = known_but_for_a_box()
    told = wan.condition(frames, known)
    elsewhere, inside = frames.copy(), frames.copy()
    elsewhere[~known] = 255 - elsewhere[~known]
    inside[4, 0, 0] = 255 - inside[4, 0, 0]
    assert torch.equal(wan.condition(elsewhere, known), told)
    assert not torch.allclose(wan.condition(inside, known), told, atol=1e-4)


def test_what_is_not_known_is_grey(wan: Wan, frames: NDArray[np.uint8]) -> None:
    """127.5 is no byte: what lies a little above and a little below brackets it."""
    nothing = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    told = wan.condition(frames, nothing)[:, 4:]
    below, above = (wan.encode(np.full_like(frames, level)) for level in (127, 128))
    torch.testing.assert_close(told, (below + above) / 2, atol=2e-2, rtol=2e-2)
    assert not torch.allclose(told, wan.encode(np.zeros_like(frames)), atol=0.1)


def test_a_known_frame_gives_the_latents_that_it_has(wan: Wan, frames: NDArray[np.uint8]) -> None:
    first = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    first[0] = True
    torch.testing.assert_close(
        wan.condition(frames, first)[:1, 4:], wan.encode(frames[:1]), atol=1e-4, rtol=1e-4
    )
    everything = np.ones_like(first)
    assert torch.equal(wan.condition(frames, everything)[:, 4:], wan.encode(frames))


def test_a_prompt_is_zero_where_it_has_no_token(wan: Wan, frames: NDArray[np.uint8]) -> None:
    tokens = wan.tokenizer("a red circle", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = wan.text_encoder(tokens).last_hidden_state
    states = wan.prompt("a red circle", frames[0]).inputs["encoder_hidden_states"]
    assert states.shape == (1, 512, 32)
    torch.testing.assert_close(states[:, : tokens.shape[1]], expected, atol=1e-5, rtol=1e-4)
    assert not states[:, tokens.shape[1] :].any()
    assert expected.abs().amin(dim=0).amax() > 0


def test_a_prompt_beyond_the_limit_is_refused_with_both_numbers(wan: Wan, frames: NDArray[np.uint8]) -> None:
    wan.prompt(" ".join(["hat"] * 511), frames[0])  # and the end
    with pytest.raises(InvalidEdit, match=r"513 tokens long and tiny-wan reads 512; shorten it"):
        wan.prompt(" ".join(["hat"] * 512), frames[0])


class Recorder:
    """What a network was called with, call by call."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, module: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        assert positional == ()
        self.calls.append(named)


def test_the_network_is_told_what_the_librarys_own_pipeline_tells_it(
    wan: Wan, tiny_wan: Path, frames: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    # It mends garbled prompts with ftfy, which is not installed; there is nothing to mend in these.
    monkeypatch.setattr(pipeline_wan_i2v, "prompt_clean", lambda text: text)
    pipeline = WanImageToVideoPipeline.from_pretrained(tiny_wan)
    pipeline.set_progress_bar_config(disable=True)
    theirs, ours = Recorder(), Recorder()
    handle = pipeline.transformer.register_forward_pre_hook(theirs, with_kwargs=True)
    noise = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(4))
    pipeline(
        image=Image.fromarray(frames[0]),
        prompt="a red circle",
        negative_prompt="gray",
        height=HEIGHT,
        width=WIDTH,
        num_frames=FRAMES,
        num_inference_steps=2,
        guidance_scale=5.0,
        latents=noise,
        output_type="latent",
    )
    handle.remove()
    assert len(theirs.calls) == 4
    known = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    known[0] = True
    condition = wan.condition(frames, known)
    prompts = [wan.prompt(text, frames[0]) for text in ("a red circle", "gray")]
    handle = wan.network.register_forward_pre_hook(ours, with_kwargs=True)
    for call in (theirs.calls[0], theirs.calls[2]):  # with the prompt; the next one is without
        latents = call["hidden_states"][:, :16].transpose(1, 2)
        predicted = wan.predict(latents.repeat(2, 1, 1, 1, 1), call["timestep"].item(), condition, prompts)
        assert predicted.shape == (2, *latents.shape[1:])
    handle.remove()
    for mine, first in ((ours.calls[0], 0), (ours.calls[1], 2)):
        for branch in range(2):
            other = theirs.calls[first + branch]
            for name in ("hidden_states", "encoder_hidden_states", "encoder_hidden_states_image"):
                told = mine[name][branch : branch + 1]
                torch.testing.assert_close(told, other[name], atol=2e-5, rtol=1e-4, msg=name)
            assert mine["timestep"][branch] == other["timestep"]
    assert theirs.calls[0]["timestep"] != theirs.calls[2]["timestep"]


def test_it_predicts_what_the_network_gives_for_each_prompt(
    wan: Wan, frames: NDArray[np.uint8], latents: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    condition = wan.condition(frames, known_but_for_a_box())
    prompts = [wan.prompt(text, frames[place]) for place, text in enumerate(("a red circle", "a hat"))]
    together = wan.predict(latents, 700.0, condition, prompts)
    assert together.shape == latents.shape
    assert together.dtype == torch.float32
    for place, prompt in enumerate(prompts):
        given = torch.cat([latents[place], condition], dim=1).transpose(0, 1).unsqueeze(0)
        expected = wan.network(given, torch.tensor([700.0]), return_dict=False, **prompt.inputs)[0]
        torch.testing.assert_close(together[place], expected[0].transpose(0, 1), atol=1e-5, rtol=1e-4)
    monkeypatch.setattr(video_parts, "TOKENS_TOGETHER", 1)
    torch.testing.assert_close(
        wan.predict(latents, 700.0, condition, prompts), together, atol=1e-5, rtol=1e-4
    )
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_in_half_precision_it_predicts_about_the_same(
    wan: Wan, tiny_wan: Path, frames: NDArray[np.uint8], latents: torch.Tensor
) -> None:
    half = load_video_backbone(tiny_wan, Device("cpu", 0, "bfloat16"))
    assert half.blocks[0].get_parameter("attn1.to_q.weight").dtype == torch.bfloat16
    assert torch.equal(half.encode(frames), wan.encode(frames))  # the autoencoder stays in float32
    predicted, expected = (
        one.predict(
            latents[:1],
            700.0,
            one.condition(frames, known_but_for_a_box()),
            [one.prompt("a red circle", frames[0])],
        )
        for one in (half, wan)
    )
    assert predicted.dtype == torch.float32
    assert not torch.equal(predicted, expected)
    torch.testing.assert_close(predicted, expected, atol=0.05, rtol=0.05)


def test_saving_memory_gives_the_same_gradients_and_keeps_less(
    wan: Wan, frames: NDArray[np.uint8], latents: torch.Tensor
) -> None:
    condition = wan.condition(frames, known_but_for_a_box())
    prompts = [wan.prompt("a red circle", frames[0])] * 2
    weight = wan.network.blocks[0].attn1.to_q.weight
    kept: list[int] = []

    def gradient() -> torch.Tensor:
        count = 0

        def count_one(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal count
            count += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count_one, lambda tensor: tensor):
            loss = wan.predict(latents, 500.0, condition, prompts).square().sum()
        kept.append(count)
        return torch.autograd.grad(loss, [weight])[0]

    weight.requires_grad_(True)
    try:
        plain = gradient()
        with wan.saving_memory():
            saved = gradient()
    finally:
        weight.requires_grad_(False)
    assert not wan.network.is_gradient_checkpointing
    torch.testing.assert_close(saved, plain, atol=0, rtol=0)
    assert plain.abs().max() > 0
    assert kept[1] < kept[0] / 2, kept


def test_an_adapter_goes_on_attention_and_on_request_on_feed_forward_layers(wan: Wan) -> None:
    attention, everything = (wan.adapter_layers(feed_forward=wanted) for wanted in (False, True))
    linear = {
        name for name, module in wan.network.blocks.named_modules() if isinstance(module, torch.nn.Linear)
    }
    pictures = {name for name in linear if ".add_k_proj" in name or ".add_v_proj" in name}
    assert len(pictures) == 2 * len(wan.blocks) == 6
    assert set(everything) == {f"blocks.{name}" for name in linear - pictures}
    assert set(everything) - set(attention) == {f"blocks.{name}" for name in linear if ".ffn." in name}
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [((832, 480), 0, (816, 480)), ((640, 640), 128, (128, 128)), ((90, 2000), 64, (16, 304))],
)
def test_the_working_size_keeps_the_aspect_and_is_whole_patches(
    wan: Wan, size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    working = wan.working_size(*size, side)
    assert (working.width, working.height) == expected
    assert (working.latent_width, working.latent_height) == (expected[0] // 8, expected[1] // 8)


def test_its_own_length_and_size_stand_in_its_folder(copied: Path, wan: Wan) -> None:
    assert wan.frame_limit == 81
    about = {"version": 1, "frames": 17, "side": 128, "methods": {"mask-lora": {"steps": 20}}}
    (copied / "mattebox.json").write_text(json.dumps(about))
    loaded = load_video_backbone(copied, CPU)
    assert loaded.frame_limit == 17
    assert loaded.working_size(300, 300).width == 128
    assert loaded.defaults == {"mask-lora": {"steps": 20}}
    assert loaded.identity == wan.identity


def test_the_schedule_is_that_of_the_models_own_scheduler(copied: Path, wan: Wan) -> None:
    assert (wan.schedule.shift, wan.schedule.timesteps) == (3.0, 1000)
    config = {"_class_name": "UniPCMultistepScheduler", "flow_shift": 5.0, "num_train_timesteps": 1000}
    (copied / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    assert load_video_backbone(copied, CPU).schedule.shift == 5.0


def test_a_text_encoder_is_loaded_as_wans_is_stored(
    copied: Path, wan: Wan, frames: NDArray[np.uint8]
) -> None:
    """Its configuration says that nothing is tied, and its embedding is stored once all the same."""
    changed(copied, "text_encoder", tie_word_embeddings=False)
    file = copied / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    weights.pop("encoder.embed_tokens.weight", None)
    save_file(weights, file, {"format": "pt"})
    loaded = load_video_backbone(copied, CPU)
    states, expected = (
        one.prompt("a red circle", frames[0]).inputs["encoder_hidden_states"] for one in (loaded, wan)
    )
    assert torch.equal(states, expected)


def test_without_an_index_the_transformer_says_what_the_folder_is(copied: Path, wan: Wan) -> None:
    (copied / "model_index.json").unlink()
    assert load_video_backbone(copied, CPU).identity == wan.identity


def test_the_registry_lists_it_and_keeps_it_warm(tiny_wan: Path, tiny_model: Path) -> None:
    registry = ModelRegistry([tiny_wan.parent, tiny_model.parent])
    entry = next(entry for entry in registry.entries() if entry.id == "tiny-wan")
    assert (entry.family, entry.available) == ("wan-image-to-video", True)
    loaded = registry.load_video("tiny-wan", CPU)
    assert registry.load_video(str(tiny_wan), CPU) is loaded
    registry.load("tiny-sd", CPU)
    assert registry.load_video("tiny-wan", CPU) is not loaded
    registry.unload()


def test_image_and_video_models_do_not_stand_in_for_each_other(tiny_wan: Path, tiny_model: Path) -> None:
    with pytest.raises(
        ModelRefused, match=r"tiny-wan is an image-to-video model .* use one such as pocket-sd"
    ):
        load_backbone(tiny_wan, CPU)
    with pytest.raises(ModelRefused, match=r"tiny-sd is a StableDiffusionPipeline, .* use pocket-wan-i2v"):
        load_video_backbone(tiny_model, CPU)


def changed(folder: Path, component: str, **values: object) -> None:
    file = folder / component / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def of_text_alone(folder: Path) -> None:
    changed(folder, "transformer", in_channels=16)
    (folder / "model_index.json").write_text('{"_class_name": "WanPipeline"}')


def with_another_vae(folder: Path) -> None:
    changed(folder, "vae", _class_name="AutoencoderKL")


def of_wan_2_2(folder: Path) -> None:
    shutil.rmtree(folder / "image_encoder")


def of_another_text_encoder(folder: Path) -> None:
    changed(folder, "text_encoder", model_type="t5")


def of_no_text_weights(folder: Path) -> None:
    next((folder / "text_encoder").glob("*.safetensors")).unlink()


def pickled(folder: Path) -> None:
    weights = next((folder / "transformer").glob("*.safetensors"))
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))


def truncated(folder: Path) -> None:
    weights = next((folder / "vae").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])


def of_another_shape(folder: Path) -> None:
    changed(folder, "transformer", ffn_dim=64)


def without(component: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        shutil.rmtree(folder / component)

    damage.__name__ = f"without_{component}"
    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (of_text_alone, "takes 16 channels: it is told no mask and no frames. Use an image-to-video model"),
        (with_another_vae, "is a WanTransformer3DModel with AutoencoderKL"),
        (of_wan_2_2, "has no image_encoder"),
        (pickled, "diffusion_pytorch_model.bin, a pickle that could run any code; convert it to safetensors"),
        (truncated, "The vae of the model model cannot be loaded"),
        (of_another_shape, "The transformer of the model model cannot be loaded"),
        (without("transformer"), "has no transformer folder"),
        (without("vae"), "vae/config.json is missing"),
        (without("text_encoder"), "text_encoder/config.json is missing"),
        (of_another_text_encoder, "The text_encoder of the model model is a t5; Wan's is a umt5"),
        (of_no_text_weights, "has no weights in"),
        (without("tokenizer"), "The tokenizer or image processor of the model model cannot be loaded"),
        (without("image_processor"), "The tokenizer or image processor of the model model cannot be loaded"),
        (without("scheduler"), "The scheduler of the model model cannot be loaded"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_words(
    copied: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(copied)
    with pytest.raises(ModelRefused) as caught:
        load_video_backbone(copied, CPU)
    assert words in str(caught.value)
