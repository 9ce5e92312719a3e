"""HunyuanVideo image-to-video: what it encodes, what its network is told, and what cannot be loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoImageToVideoPipeline
from mattebox_backend.backbones import load_backbone, load_video_backbone, video_parts
from mattebox_backend.backbones.block_swap import BlockSwap
from mattebox_backend.backbones.folder import ModelFolder
from mattebox_backend.backbones.hunyuan_video import HunyuanVideo, known_latents
from mattebox_backend.device import Device
from mattebox_backend.errors import InvalidEdit, ModelRefused
from mattebox_backend.models.registry import ModelRegistry
from numpy.typing import NDArray
from peft import LoraConfig, inject_adapter_in_model
from PIL import Image

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
def copied(tiny_hunyuan: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_hunyuan, tmp_path / "model"))


def known_but_for_a_box() -> NDArray[np.bool_]:
    """(9, 32, 48): the first frame whole; frame 3 but for rows 8-15, columns 20-31; frames 5 to 8 but for the
    last column.
    """
    known = np.ones((FRAMES, HEIGHT, WIDTH), bool)
    known[3, 8:16, 20:32] = False
    known[5:, :, -1] = False
    return known


def test_latents_are_scaled_as_the_models_own_and_every_frame_comes_back(
    hunyuan: HunyuanVideo, tiny_hunyuan: Path, frames: NDArray[np.uint8]
) -> None:
    vae = AutoencoderKLHunyuanVideo.from_pretrained(tiny_hunyuan / "vae").eval()
    given = torch.from_numpy(frames).permute(3, 0, 1, 2).unsqueeze(0).float() / 127.5 - 1
    with torch.no_grad():
        expected = vae.encode(given).latent_dist.mode()[0] * 0.48
        latents = hunyuan.encode(frames)
        torch.testing.assert_close(latents, expected.transpose(0, 1), atol=1e-5, rtol=1e-4)
        seen = vae.decode(expected.unsqueeze(0) / 0.48).sample[0].permute(1, 2, 3, 0)
    assert latents.shape == (3, 16, 4, 6)
    assert (hunyuan.frame_stride, hunyuan.latent_channels) == (4, 16)
    decoded = np.stack(list(hunyuan.decode(latents)))
    assert decoded.shape == (FRAMES, HEIGHT, WIDTH, 3)
    torch.testing.assert_close(torch.from_numpy(decoded), (seen / 2 + 0.5).clamp(0, 1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("latent_frames", [1, 2, 4])
def test_a_latent_cell_is_known_where_all_its_frames_are(latent_frames: int) -> None:
    count = 4 * (latent_frames - 1) + 1
    cells = torch.rand(count, 3, 5, generator=torch.Generator().manual_seed(3)) < 0.8
    found = known_latents(cells, 4)
    assert found.shape == (latent_frames, 3, 5)
    for latent_frame in range(latent_frames):
        of = range(1) if latent_frame == 0 else range(4 * latent_frame - 3, 4 * latent_frame + 1)
        for row in range(3):
            for column in range(5):
                expected = all(bool(cells[frame, row, column]) for frame in of)
                assert bool(found[latent_frame, row, column]) is expected


def test_the_mask_comes_last_and_where_it_is_0_so_are_the_latents(
    hunyuan: HunyuanVideo, frames: NDArray[np.uint8]
) -> None:
    known = known_but_for_a_box()
    told = hunyuan.condition(frames, known)
    assert told.shape == (3, 17, 4, 6)
    for latent_frame in range(3):
        of = slice(0, 1) if latent_frame == 0 else slice(4 * latent_frame - 3, 4 * latent_frame + 1)
        for row in range(4):
            for column in range(6):
                cell = known[of, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].all()
                assert told[latent_frame, 16, row, column] == float(cell)
                assert bool(told[latent_frame, :16, row, column].any()) is bool(cell)


def test_what_is_not_known_does_not_enter_the_condition(
    hunyuan: HunyuanVideo, frames: NDArray[np.uint8]
) -> None:
    known = known_but_for_a_box()
    told = hunyuan.condition(frames, known)
    elsewhere, inside = frames.copy(), frames.copy()
    elsewhere[~known] = 255 - elsewhere[~known]
    inside[4, 0, 0] = 255 - inside[4, 0, 0]
    assert torch.equal(hunyuan.condition(elsewhere, known), told)
    assert not torch.allclose(hunyuan.condition(inside, known), told, atol=1e-4)


def test_the_first_frame_is_told_as_if_it_were_alone(
    hunyuan: HunyuanVideo, frames: NDArray[np.uint8]
) -> None:
    everything = np.ones((FRAMES, HEIGHT, WIDTH), bool)
    told = hunyuan.condition(frames, everything)[:, :16]
    assert torch.equal(told[:1], hunyuan.encode(frames[:1]))
    assert torch.equal(told[1:], hunyuan.encode(frames)[1:])
    assert not torch.allclose(told[:1], hunyuan.encode(frames)[:1], atol=1e-5)  # which is why
    assert torch.equal(hunyuan.condition(frames[:1], everything[:1])[:, :16], told[:1])


class Recorder:
    """What a network was called with, call by call."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, module: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        assert positional == ()
        self.calls.append(named)


@pytest.mark.parametrize("guided", [True, False])
def test_network_and_sampling_are_the_librarys_own_pipelines(
    copied: Path, frames: NDArray[np.uint8], guided: bool
) -> None:
    """What the network is told, what it then says, and where the steps lead. guided: the model has learnt
    guidance as an input.
    """
    if not guided:
        changed(copied, "transformer", guidance_embeds=False)
    model = load_video_backbone(copied, CPU)
    pipeline = HunyuanVideoImageToVideoPipeline.from_pretrained(copied)
    pipeline.set_progress_bar_config(disable=True)
    theirs, ours = Recorder(), Recorder()
    handle = pipeline.transformer.register_forward_pre_hook(theirs, with_kwargs=True)
    made = pipeline(
        image=Image.fromarray(frames[0]),
        prompt="a red circle",
        height=HEIGHT,
        width=WIDTH,
        num_frames=FRAMES,
        num_inference_steps=2,
        guidance_scale=6.0,
        generator=torch.Generator().manual_seed(4),
        output_type="latent",
    ).frames
    handle.remove()
    assert len(theirs.calls) == 2
    known = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    known[0] = True
    condition, prompt = model.condition(frames, known), model.prompt("a red circle", frames[0])
    handle = model.network.register_forward_pre_hook(ours, with_kwargs=True)
    grid = model.schedule.grid(2, model.schedule.shift)
    latents = theirs.calls[0]["hidden_states"][:, :16].transpose(1, 2)
    with torch.no_grad():
        for level, call in zip((2, 1), theirs.calls, strict=True):
            assert grid.timesteps[level - 1] == call["timestep"].item()
            said = model.predict(latents, grid.timesteps[level - 1], condition, [prompt])
            expected = pipeline.transformer(**call)[0].transpose(1, 2)
            torch.testing.assert_close(said, expected, atol=1e-5, rtol=1e-4)
            latents = grid.move(latents, said, level, level - 1)
    handle.remove()
    # The library leaves out the first latent frame, and later the first four of what it decodes.
    torch.testing.assert_close(latents[0, 1:], made[0].transpose(0, 1), atol=1e-5, rtol=1e-4)
    names = {"hidden_states", "encoder_hidden_states", "encoder_attention_mask", "pooled_projections"}
    names |= {"timestep", "guidance"} if guided else {"timestep"}
    for mine, other in zip(ours.calls, theirs.calls, strict=True):
        assert set(mine) == names | {"return_dict"}
        for name in names:
            torch.testing.assert_close(mine[name], other[name], atol=1e-5, rtol=1e-4, msg=name)
    assert theirs.calls[0]["timestep"] != theirs.calls[1]["timestep"]
    assert model.schedule.shift == 7.0


def test_it_predicts_what_the_network_gives_for_each_prompt(
    hunyuan: HunyuanVideo,
    frames: NDArray[np.uint8],
    latents: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the prompts are of unequal length."""
    condition = hunyuan.condition(frames, known_but_for_a_box())
    texts = ("a red circle", "a hat on a man and a green square")
    prompts = [hunyuan.prompt(text, frames[place]) for place, text in enumerate(texts)]
    lengths = [prompt.inputs["encoder_attention_mask"].sum() for prompt in prompts]
    assert lengths[1] - lengths[0] == 6
    with torch.no_grad():
        together = hunyuan.predict(latents, 700.0, condition, prompts)
        assert together.shape == latents.shape
        for place, prompt in enumerate(prompts):
            given = torch.cat([latents[place], condition], dim=1).transpose(0, 1).unsqueeze(0)
            guidance, timestep = torch.tensor([6000.0]), torch.tensor([700.0])
            expected = hunyuan.network(given, timestep, guidance=guidance, return_dict=False, **prompt.inputs)
            torch.testing.assert_close(together[place], expected[0][0].transpose(0, 1), atol=1e-5, rtol=1e-4)
        monkeypatch.setattr(video_parts, "TOKENS_TOGETHER", 1)
        apart = hunyuan.predict(latents, 700.0, condition, prompts)
    torch.testing.assert_close(apart, together, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_picture_and_prompt_are_what_the_states_hold(
    hunyuan: HunyuanVideo, frames: NDArray[np.uint8]
) -> None:
    """288 tokens of the picture, of which the first come before any word, then those of the prompt."""
    one, word, picture = (
        hunyuan.prompt(text, frame).inputs["encoder_hidden_states"]
        for text, frame in (("red circle", frames[0]), ("red hat", frames[0]), ("red circle", frames[1]))
    )
    assert one.shape == (1, 540, 32)
    assert torch.equal(one[:, :289], word[:, :289])
    assert not torch.allclose(one[:, 289], word[:, 289], atol=1e-4)
    assert not torch.allclose(one[:, :288], picture[:, :288], atol=1e-6)


def test_a_prompt_beyond_the_limit_is_refused_with_both_numbers(
    hunyuan: HunyuanVideo, frames: NDArray[np.uint8]
) -> None:
    """Of 256 tokens, five say where the prompt ends and the answer begins."""
    hunyuan.prompt(" ".join(["hat"] * 251), frames[0])
    with pytest.raises(InvalidEdit, match=r"252 tokens long and tiny-hunyuan reads 251; shorten it"):
        hunyuan.prompt(" ".join(["hat"] * 252), frames[0])


def test_an_adapter_goes_on_attention_and_on_request_on_feed_forward_layers(hunyuan: HunyuanVideo) -> None:
    attention, everything = (set(hunyuan.adapter_layers(feed_forward=wanted)) for wanted in (False, True))
    blocks = ("transformer_blocks", "single_transformer_blocks")
    linear = {
        f"{kind}.{name}"
        for kind in blocks
        for name, module in getattr(hunyuan.network, kind).named_modules()
        if isinstance(module, torch.nn.Linear) and ".norm" not in name
    }
    assert everything == linear
    assert everything - attention == {name for name in linear if ".ff" in name or ".proj_" in name}
    assert len(attention) == 2 * 8 + 2 * 3
    assert [type(block).__name__ for block in hunyuan.blocks] == [
        *["HunyuanVideoTransformerBlock"] * 2,
        *["HunyuanVideoSingleTransformerBlock"] * 2,
    ]


@pytest.mark.parametrize("count", [0, 3, 4])
def test_an_adapter_learns_the_same_whatever_saves_memory(
    copied: Path, frames: NDArray[np.uint8], latents: torch.Tensor, count: int
) -> None:
    model = load_video_backbone(copied, CPU)
    layers = list(model.adapter_layers(feed_forward=True))
    inject_adapter_in_model(LoraConfig(r=2, target_modules=layers, init_lora_weights=False), model.network)
    learning = {name: p for name, p in model.network.named_parameters() if ".lora_" in name}
    for parameter in learning.values():
        parameter.requires_grad_(True)
    condition = model.condition(frames, known_but_for_a_box())
    prompt = model.prompt("a red circle", frames[0])

    def gradients() -> list[torch.Tensor]:
        loss = model.predict(latents[:1], 400.0, condition, [prompt]).square().mean()
        return list(torch.autograd.grad(loss, list(learning.values()), allow_unused=True))

    plain = gradients()
    # Nothing reads the text's states after the last block.
    assert sum(gradient is not None and gradient.any() for gradient in plain) > 0.8 * len(plain)
    for again in (False, True):
        with BlockSwap(model.network, model.blocks, count, CPU.torch):
            if again:
                with model.saving_memory():
                    found = gradients()
            else:
                found = gradients()
        for mine, other in zip(found, plain, strict=True):
            assert mine is other is None or torch.equal(mine, other)
    assert not model.network.is_gradient_checkpointing


def test_the_working_size_is_whole_patches(hunyuan: HunyuanVideo) -> None:
    working = hunyuan.working_size(1280, 720)
    assert (working.width, working.height) == (1280, 720)
    assert (working.latent_width, working.latent_height) == (160, 90)
    assert hunyuan.working_size(300, 300, 100).width == 96
    assert hunyuan.frame_limit == 129


def test_the_registry_lists_it_and_the_image_loader_refuses_it(tiny_hunyuan: Path) -> None:
    registry = ModelRegistry([tiny_hunyuan.parent])
    entry = next(entry for entry in registry.entries() if entry.id == "tiny-hunyuan")
    assert (entry.family, entry.available) == ("hunyuan-video-image-to-video", True)
    assert isinstance(registry.load_video("tiny-hunyuan", CPU), HunyuanVideo)
    registry.unload()
    with pytest.raises(ModelRefused, match="tiny-hunyuan is an image-to-video model"):
        load_backbone(tiny_hunyuan, CPU)


def test_it_runs_unguided_unless_its_folder_says_otherwise(copied: Path) -> None:
    assert ModelFolder.open(copied).defaults() == {"mask-lora": {"guidance": 1.0, "shift": 7.0}}
    (copied / "mattebox.json").write_text('{"version": 1, "methods": {"mask-lora": {"guidance": 3.0}}}')
    assert load_video_backbone(copied, CPU).defaults == {"mask-lora": {"guidance": 3.0}}


def test_without_an_index_the_transformer_says_what_the_folder_is(
    copied: Path, hunyuan: HunyuanVideo
) -> None:
    (copied / "model_index.json").unlink()
    assert load_video_backbone(copied, CPU).identity == hunyuan.identity


def changed(folder: Path, component: str, **values: object) -> None:
    file = folder / component / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def replacing_tokens(folder: Path) -> None:
    changed(folder, "transformer", image_condition_type="token_replace", in_channels=16)


def of_text_alone(folder: Path) -> None:
    changed(folder, "transformer", image_condition_type=None, in_channels=16)
    (folder / "model_index.json").write_text('{"_class_name": "HunyuanVideoPipeline"}')


def with_another_vae(folder: Path) -> None:
    changed(folder, "vae", _class_name="AutoencoderKLWan")


def of_another_text_encoder(folder: Path) -> None:
    changed(folder, "text_encoder", model_type="llama")


def truncated(folder: Path) -> None:
    weights = next((folder / "transformer").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])


def without(component: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        shutil.rmtree(folder / component)

    damage.__name__ = f"without_{component}"
    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (replacing_tokens, "(token_replace) and is told no mask; use the variant with 33 channels, such as"),
        (of_text_alone, "takes 16 channels: it is told no mask and no frames"),
        (with_another_vae, "is a HunyuanVideoTransformer3DModel with AutoencoderKLWan"),
        (
            of_another_text_encoder,
            "The text_encoder of the model model is a llama; HunyuanVideo's is a llava",
        ),
        (truncated, "The transformer of the model model cannot be loaded"),
        (without("transformer"), "has no transformer folder"),
        (without("text_encoder_2"), "text_encoder_2/config.json is missing"),
        (without("tokenizer"), "The tokenizers or image processor of the model model cannot be loaded"),
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
