"""Loading a model folder, and what the backbone says about it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.attention import Reach, SiteKind
from mattebox_backend.backbones import load_backbone
from mattebox_backend.device import Device
from mattebox_backend.errors import InvalidEdit, ModelRefused, UnknownModel

CPU = Device("cpu", 0, "float32")


@pytest.fixture
def copied(tiny_model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    return folder


def test_sites_are_every_attention_layer_in_calling_order_with_its_size(backbone: Any) -> None:
    sites = backbone.attention_sites()
    assert [site.reduction for site in sites if site.kind is SiteKind.SELF] == [1, 2, 2, 2, 2, 1, 1]
    assert {site.kind for site in sites} == {SiteKind.SELF, SiteKind.CROSS}
    assert sites[0].grid(9, 6) == (9, 6)
    assert next(site for site in sites if site.reduction == 2).grid(9, 6) == (5, 3)


def test_frames_see_each_other_only_with_full_frame_attention(backbone: Any) -> None:
    torch.manual_seed(0)
    latents = torch.randn(1, 3, 4, 8, 8)
    changed = latents.clone()
    changed[:, 2] += 1
    text = backbone.embed("a red circle").states.unsqueeze(0)

    def first_frame(clip: torch.Tensor, *, full: bool) -> torch.Tensor:
        return backbone.predict(clip, 300, text, ["edit"], reach=Reach.ALL if full else Reach.OWN)[0, 0]  # type: ignore[no-any-return]

    assert torch.equal(first_frame(latents, full=False), first_frame(changed, full=False))
    assert not torch.allclose(first_frame(latents, full=True), first_frame(changed, full=True), atol=1e-4)


def test_with_sparse_causal_attention_a_frame_sees_the_first_and_the_one_before_it(backbone: Any) -> None:
    torch.manual_seed(0)
    latents = torch.randn(1, 4, 4, 8, 8)
    text = backbone.embed("a red circle").states.unsqueeze(0)

    def changed_by(frame: int) -> list[bool]:
        other = latents.clone()
        other[:, frame] += 1
        before, after = (
            backbone.predict(clip, 300, text, ["edit"], reach=Reach.FIRST_AND_PREVIOUS)[0]
            for clip in (latents, other)
        )
        return [not torch.allclose(a, b, atol=1e-4) for a, b in zip(before, after, strict=True)]

    assert changed_by(0) == [True] * 4
    assert changed_by(3) == [False, False, False, True]
    # Layers add up: what frame 2 saw of frame 1 is seen by frame 3 one layer later.
    assert changed_by(1) == [False, True, True, True]


def test_a_single_frame_is_what_the_image_model_itself_predicts(tiny_model: Path, backbone: Any) -> None:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    latents = torch.randn(1, 1, 4, 8, 8)
    text = backbone.embed("a red circle").states.unsqueeze(0)
    reference = UNet2DConditionModel.from_pretrained(tiny_model / "unet").eval()
    with torch.no_grad():
        expected = reference(latents[0], 300, encoder_hidden_states=text).sample
    torch.testing.assert_close(
        backbone.predict(latents, 300, text, ["edit"])[0], expected, atol=1e-4, rtol=1e-4
    )


def test_branches_run_apart_give_what_they_give_together(
    backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    latents = torch.randn(2, 2, 4, 8, 8)
    text = torch.stack([backbone.embed(prompt).states for prompt in ("a red circle", "a hat")])
    together = backbone.predict(latents, 300, text, ["one", "two"])
    monkeypatch.setattr(type(backbone), "_fits", lambda *_: False)
    torch.testing.assert_close(
        backbone.predict(latents, 300, text, ["one", "two"]), together, atol=1e-5, rtol=1e-5
    )


def test_encoding_and_decoding_do_not_depend_on_how_many_frames_go_at_once(
    backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    together = backbone.encode(frames)
    decoded = np.stack(list(backbone.decode(together)))
    monkeypatch.setattr("mattebox_backend.backbones.stable_diffusion._PIXELS_AT_ONCE", 1)
    torch.testing.assert_close(backbone.encode(frames), together, atol=1e-4, rtol=1e-4)
    assert np.abs(np.stack(list(backbone.decode(together))) - decoded).max() < 1e-3
    assert decoded.dtype == np.float32
    assert decoded.shape == (3, 64, 64, 3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((64, 64), (64, 64)), ((1920, 1080), (80, 48)), ((1080, 1920), (48, 80)), ((3, 1000), (16, 1168))],
)
def test_the_working_size_keeps_aspect_and_area(
    backbone: Any, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    working = backbone.working_size(*size)
    assert (working.width, working.height) == expected
    assert (working.latent_width, working.latent_height) == (expected[0] // 8, expected[1] // 8)


def test_the_working_size_can_be_chosen(backbone: Any) -> None:
    working = backbone.working_size(640, 640, 256)
    assert (working.width, working.height) == (256, 256)


def test_a_prompt_beyond_the_limit_is_refused_with_both_numbers(backbone: Any) -> None:
    assert len(backbone.embed(" ".join(["hat"] * 22)).words) == 22
    with pytest.raises(InvalidEdit, match=r"23 tokens long.* 22"):
        backbone.embed(" ".join(["hat"] * 23))


def test_the_identity_follows_the_weights_not_the_place(tiny_model: Path, copied: Path) -> None:
    first, second = load_backbone(tiny_model, CPU), load_backbone(copied, CPU)
    assert first.identity == second.identity
    weights = next((copied / "unet").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert load_backbone(copied, CPU).identity != first.identity


def test_a_models_own_defaults_come_from_its_folder(copied: Path) -> None:
    content = {"version": 1, "methods": {"st-modulator": {"steps": 30}}}
    (copied / "mattebox.json").write_text(json.dumps(content))
    assert load_backbone(copied, CPU).defaults == {"st-modulator": {"steps": 30}}
    (copied / "mattebox.json").write_text('{"version": 9}')
    with pytest.raises(ModelRefused, match=r"mattebox\.json is not a version 1 file"):
        load_backbone(copied, CPU)


def pickled(folder: Path) -> None:
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))


def disguised(folder: Path) -> None:
    import pickle

    next((folder / "vae").glob("*.safetensors")).write_bytes(pickle.dumps({"weights": [1, 2]}) * 50)


def truncated(folder: Path) -> None:
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])


def without_weights(folder: Path) -> None:
    next((folder / "text_encoder").glob("*.safetensors")).unlink()


def of_another_family(folder: Path) -> None:
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(
        json.dumps(config | {"_class_name": "WanTransformer3DModel"})
    )


def changed(folder: Path, component: str, **values: object) -> None:
    file = folder / component / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def for_inpainting(folder: Path) -> None:
    changed(folder, "unet", in_channels=9)


def with_two_encoders(folder: Path) -> None:
    changed(folder, "unet", addition_embed_type="text_time")


def without_scheduler(folder: Path) -> None:
    shutil.rmtree(folder / "scheduler")


def without_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


def without_unet(folder: Path) -> None:
    shutil.rmtree(folder / "unet")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (pickled, "diffusion_pytorch_model.bin, a pickle that could run any code; convert it to safetensors"),
        (disguised, "The vae of the model model cannot be loaded"),
        (truncated, "The unet of the model model cannot be loaded"),
        (without_weights, "has no weights in"),
        (of_another_family, "is a WanTransformer3DModel"),
        (without_unet, "has no unet folder"),
        (for_inpainting, "takes 9 channels and its latents have 4"),
        (with_two_encoders, "reads more than its one text encoder gives"),
        (without_scheduler, "The scheduler of the model model cannot be loaded"),
        (without_tokenizer, "The tokenizer of the model model cannot be loaded"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_words(
    copied: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(copied)
    with pytest.raises(ModelRefused) as caught:
        load_backbone(copied, CPU)
    assert words in str(caught.value)


def test_a_path_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="There is no model folder at"):
        load_backbone(tmp_path / "nowhere", CPU)
