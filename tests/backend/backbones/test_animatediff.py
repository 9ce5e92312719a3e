"""AnimateDiff: what it predicts, how its motion modules are told of a call, and how it is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from mattebox_backend.attention import AttentionCall, AttentionMaps, LowRankBias, Reach, SiteKind
from mattebox_backend.backbones import load_backbone
from mattebox_backend.device import Device
from mattebox_backend.diffusion.denoiser import Denoiser, Windows
from mattebox_backend.errors import InvalidEdit, ModelRefused, UnknownModel

CPU = Device("cpu", 0, "float32")
BRANCHES = ("one", "two")


@pytest.fixture
def text(motion_backbone: Any) -> torch.Tensor:
    """(2, L, C): a prompt for each of two branches."""
    return torch.stack([motion_backbone.embed(prompt).states for prompt in ("a red circle", "a hat")])


@pytest.fixture(params=[(8, 8), (6, 10), (5, 7)], ids=str)
def latents(request: pytest.FixtureRequest) -> torch.Tensor:
    """(2, 4, 4, h, w) of several sizes, also such as the network does not divide."""
    return torch.randn(2, 4, 4, *request.param, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def some_latents() -> torch.Tensor:
    return torch.randn(2, 4, 4, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def reference(tiny_model: Path, tiny_motion: Path) -> UNetMotionModel:
    """diffusers' own, with its own attention."""
    unet = UNet2DConditionModel.from_pretrained(tiny_model / "unet")
    adapter = MotionAdapter.from_pretrained(tiny_motion / "motion_adapter")
    return UNetMotionModel.from_unet2d(unet, adapter).eval().requires_grad_(False)


@pytest.fixture
def copied(tiny_model: Path, tiny_motion: Path, tmp_path: Path) -> Path:
    """A motion folder to be damaged, with its base beside it."""
    shutil.copytree(tiny_model, tmp_path / tiny_model.name)
    shutil.copytree(tiny_motion, tmp_path / "motion")
    return tmp_path / "motion"


def asked(unet: UNetMotionModel, latents: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """What diffusers' own predicts at timestep 300 for latents (B, F, C, h, w), with a text per frame."""
    per_frame = text.repeat_interleave(latents.shape[1], 0) if text.ndim == 3 else text.flatten(0, 1)
    return torch.as_tensor(unet(latents.transpose(1, 2), 300, per_frame).sample).transpose(1, 2)


def test_it_predicts_what_the_library_itself_predicts(
    motion_backbone: Any, reference: UNetMotionModel, latents: torch.Tensor, text: torch.Tensor
) -> None:
    predicted = motion_backbone.predict(latents, 300, text, BRANCHES, reach=Reach.OWN)
    torch.testing.assert_close(predicted, asked(reference, latents, text), atol=1e-4, rtol=1e-4)


def test_a_text_per_frame_reaches_its_frame(
    motion_backbone: Any, reference: UNetMotionModel, some_latents: torch.Tensor, text: torch.Tensor
) -> None:
    per_frame = text.unsqueeze(1).repeat(1, 4, 1, 1)
    shared = motion_backbone.predict(some_latents, 300, text, BRANCHES, reach=Reach.OWN)
    alike = motion_backbone.predict(some_latents, 300, per_frame, BRANCHES, reach=Reach.OWN)
    torch.testing.assert_close(alike, shared, atol=1e-5, rtol=1e-5)
    per_frame[0, 2], per_frame[1, 0] = text[1], text[0]
    other = motion_backbone.predict(some_latents, 300, per_frame, BRANCHES, reach=Reach.OWN)
    expected = asked(reference, some_latents, per_frame)
    torch.testing.assert_close(other, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(other, shared, atol=1e-3)


def test_one_frame_is_legal(
    motion_backbone: Any, reference: UNetMotionModel, some_latents: torch.Tensor, text: torch.Tensor
) -> None:
    one = some_latents[:, :1]
    predicted = motion_backbone.predict(one, 300, text, BRANCHES, reach=Reach.OWN)
    torch.testing.assert_close(predicted, asked(reference, one, text), atol=1e-4, rtol=1e-4)


def test_with_projections_of_zero_it_is_the_image_model_frame_by_frame(
    copied: Path, tiny_model: Path, latents: torch.Tensor, text: torch.Tensor
) -> None:
    adapter = MotionAdapter.from_pretrained(copied / "motion_adapter")
    for name, parameter in adapter.named_parameters():
        if ".proj_out." in name:
            torch.nn.init.zeros_(parameter)
    adapter.save_pretrained(copied / "motion_adapter")
    moving, image = load_backbone(copied, CPU), load_backbone(tiny_model, CPU)
    for reach in (Reach.OWN, Reach.ALL):
        expected = image.predict(latents, 300, text, BRANCHES, reach=reach)
        predicted = moving.predict(latents, 300, text, BRANCHES, reach=reach)
        torch.testing.assert_close(predicted, expected, atol=1e-5, rtol=1e-5)


def test_frames_hear_of_each_other_even_where_each_sees_itself_alone(
    motion_backbone: Any, some_latents: torch.Tensor, text: torch.Tensor
) -> None:
    changed = some_latents.clone()
    changed[0, 3] += 1
    before, after = (
        motion_backbone.predict(clip, 300, text, BRANCHES, reach=Reach.OWN)
        for clip in (some_latents, changed)
    )
    assert not torch.allclose(before[0, 0], after[0, 0], atol=1e-4)
    torch.testing.assert_close(before[1], after[1], atol=1e-5, rtol=1e-5)


def test_sites_are_every_attention_layer_in_calling_order(motion_backbone: Any) -> None:
    sites = motion_backbone.attention_sites()
    temporal = [site.reduction for site in sites if site.kind is SiteKind.TEMPORAL]
    assert temporal == [1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1]
    kinds = [SiteKind.SELF, SiteKind.CROSS, SiteKind.TEMPORAL, SiteKind.TEMPORAL]
    assert [site.kind for site in sites] == kinds * 7
    assert {site.kind for site in sites if ".motion_modules." in site.name} == {SiteKind.TEMPORAL}


class Recorder:
    """Remembers the calls of all sites, in order."""

    def __init__(self) -> None:
        self.calls: list[AttentionCall] = []

    def terms(self, call: AttentionCall) -> tuple[()]:
        self.calls.append(call)
        return ()


def test_every_site_is_told_how_its_call_is_laid_out_in_the_order_of_the_sites(
    motion_backbone: Any, some_latents: torch.Tensor, text: torch.Tensor
) -> None:
    recorder, board = Recorder(), motion_backbone.switchboard
    for site in motion_backbone.attention_sites():
        board.listen(site, recorder)
    motion_backbone.predict(some_latents, 300, text, BRANCHES, frames=range(5, 9), reach=Reach.ALL)
    board.hush(recorder)
    assert [call.site for call in recorder.calls] == list(motion_backbone.attention_sites())
    assert {call.branches for call in recorder.calls} == {BRANCHES}
    assert {call.frames for call in recorder.calls} == {range(5, 9)}
    assert all(call.keys == 4 for call in recorder.calls if call.site.kind is SiteKind.TEMPORAL)
    assert all(call.grid == call.site.grid(8, 8) for call in recorder.calls)


class TemporalMaps:
    """Keeps the maps of one site."""

    def __init__(self) -> None:
        self.maps = torch.empty(0)

    def terms(self, call: AttentionCall) -> tuple[AttentionMaps]:
        return (AttentionMaps(self._keep),)

    def _keep(self, maps: torch.Tensor, rows: slice) -> torch.Tensor:
        self.maps = maps.clone()
        return maps


def test_at_a_temporal_site_the_places_of_a_branch_follow_one_another(
    motion_backbone: Any, some_latents: torch.Tensor, text: torch.Tensor
) -> None:
    site = next(site for site in motion_backbone.attention_sites() if site.kind is SiteKind.TEMPORAL)

    def maps(which: slice) -> torch.Tensor:
        caught = TemporalMaps()
        motion_backbone.switchboard.listen(site, caught)
        motion_backbone.predict(some_latents[which], 300, text[which], BRANCHES[which], reach=Reach.OWN)
        motion_backbone.switchboard.hush(caught)
        return caught.maps

    both, first, second = maps(slice(2)), maps(slice(0, 1)), maps(slice(1, 2))
    assert both.shape == (2 * 64, 2, 4, 4)
    torch.testing.assert_close(both, torch.cat([first, second]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both.sum(-1), torch.ones(2 * 64, 2, 4))


def gradients(
    backbone: Any, clips: list[torch.Tensor], text: torch.Tensor, windows: list[range]
) -> list[torch.Tensor]:
    """Of the sum of squares of the predictions of all windows, with respect to latents and texts."""
    wanted = [clip.clone().requires_grad_() for clip in (*clips, text)]
    with torch.enable_grad():
        loss = torch.stack(
            [
                backbone.predict(clip, 300, wanted[-1], BRANCHES, frames=frames, reach=Reach.OWN)
                .square()
                .sum()
                for clip, frames in zip(wanted, windows, strict=False)
            ]
        ).sum()
        return list(torch.autograd.grad(loss, wanted))


class ByFrames:
    """A bias that depends on which frames are called, so that a pass under another layout is another pass."""

    def terms(self, call: AttentionCall) -> tuple[LowRankBias]:
        rows = torch.arange(call.keys, dtype=torch.float32).unsqueeze(-1)
        queries = len(call.frames) * (
            1 if call.site.kind is SiteKind.TEMPORAL else call.grid[0] * call.grid[1]
        )
        return (LowRankBias(torch.full((queries, 1), 0.3 * call.frames.start), rows / call.keys),)


def test_gradients_are_the_librarys_own(
    motion_backbone: Any, reference: UNetMotionModel, some_latents: torch.Tensor, text: torch.Tensor
) -> None:
    per_frame = text.unsqueeze(1).repeat(1, 4, 1, 1)
    ours = gradients(motion_backbone, [some_latents], per_frame, [range(4)])
    wanted = [some_latents.clone().requires_grad_(), per_frame.clone().requires_grad_()]
    theirs = torch.autograd.grad(asked(reference, *wanted).square().sum(), wanted)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-3)
    assert all(gradient.abs().amax((0, 2, 3)).min() > 0 for gradient in ours)


def test_a_pass_that_is_computed_again_is_laid_out_as_it_was(
    motion_backbone: Any, some_latents: torch.Tensor, text: torch.Tensor
) -> None:
    clips = [some_latents[:, :3], some_latents[:, 1:]]
    windows = [range(3), range(7, 10)]
    listener, board = ByFrames(), motion_backbone.switchboard
    for site in motion_backbone.attention_sites():
        board.listen(site, listener)
    plain = gradients(motion_backbone, clips, text, windows)
    with motion_backbone.saving_memory():
        saved = gradients(motion_backbone, clips, text, windows)
    board.hush(listener)
    for one, other in zip(plain, saved, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert not motion_backbone.unet.is_gradient_checkpointing


def test_saving_memory_computes_every_site_again(
    motion_backbone: Any, some_latents: torch.Tensor, text: torch.Tensor
) -> None:
    recorder, board = Recorder(), motion_backbone.switchboard
    sites = motion_backbone.attention_sites()
    for site in sites:
        board.listen(site, recorder)
    with motion_backbone.saving_memory():
        gradients(motion_backbone, [some_latents[:, :1]], text, [range(1)])
    board.hush(recorder)
    often = {site.name: sum(call.site == site for call in recorder.calls) for site in sites}
    assert min(often.values()) >= 2, often


def test_more_frames_than_it_knows_are_refused_and_windows_take_them(
    motion_backbone: Any, text: torch.Tensor
) -> None:
    clip = torch.randn(1, 7, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    assert motion_backbone.frame_limit == 6
    with pytest.raises(InvalidEdit, match=r"at most 6 frames at once and is given 7.*windows"):
        motion_backbone.predict(clip, 300, text[:1], ["edit"])
    denoiser = Denoiser(motion_backbone, Reach.OWN, Windows(4, 3))
    assert denoiser.predict(clip, 300, text[:1], ["edit"]).shape == clip.shape


def test_an_image_model_takes_as_many_frames_as_there_are(backbone: Any) -> None:
    assert backbone.frame_limit is None


def test_the_librarys_own_folder_of_a_whole_pipeline_is_loaded(
    tiny_model: Path, tmp_path: Path, text: torch.Tensor, some_latents: torch.Tensor
) -> None:
    """One with a level that has no spatial attention, as Stable Diffusion's lowest, and with no motion in the
    middle.
    """
    folder = tmp_path / "whole"
    shutil.copytree(tiny_model, folder)
    shutil.rmtree(folder / "unet")
    torch.manual_seed(3)
    unet = UNetMotionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
        block_out_channels=(16, 32),
        layers_per_block=2,
        cross_attention_dim=32,
        num_attention_heads=2,
        norm_num_groups=8,
        motion_num_attention_heads=2,
        motion_max_seq_length=5,
        use_motion_mid_block=False,
    ).eval()
    unet.save_pretrained(folder / "unet")
    (folder / "model_index.json").write_text('{"_class_name": "AnimateDiffPipeline"}')
    loaded = load_backbone(folder, CPU)
    with torch.no_grad():
        expected = asked(unet, some_latents, text)
    predicted = loaded.predict(some_latents, 300, text, BRANCHES, reach=Reach.OWN)
    torch.testing.assert_close(predicted, expected, atol=1e-4, rtol=1e-4)
    assert loaded.frame_limit == 5
    with loaded.saving_memory():
        gradients(loaded, [some_latents], text, [range(4)])
    (folder / "model_index.json").unlink()
    assert load_backbone(folder, CPU).identity == loaded.identity


def test_motion_modules_and_an_image_unet_may_lie_in_one_folder(
    tiny_model: Path, tiny_motion: Path, tmp_path: Path, motion_backbone: Any
) -> None:
    folder = tmp_path / "whole"
    shutil.copytree(tiny_model, folder)
    shutil.copytree(tiny_motion / "motion_adapter", folder / "motion_adapter")
    assert load_backbone(folder, CPU).identity == motion_backbone.identity


def test_the_base_is_found_by_name_or_beside_the_folder(
    copied: Path, tiny_model: Path, tmp_path: Path, motion_backbone: Any
) -> None:
    beside = tmp_path / tiny_model.name
    beside.rename(tmp_path / "elsewhere")

    def find(name: str) -> Path:
        assert name == tiny_model.name
        return tmp_path / "elsewhere"

    def unknown(name: str) -> Path:
        raise UnknownModel(name)

    assert load_backbone(copied, CPU, find).identity == motion_backbone.identity
    with pytest.raises(ModelRefused, match="is built on tiny-sd, which is not here; put tiny-sd beside it"):
        load_backbone(copied, CPU, unknown)
    (tmp_path / "elsewhere").rename(beside)
    assert load_backbone(copied, CPU, unknown).identity == motion_backbone.identity


def test_a_component_of_its_own_goes_before_that_of_the_base(copied: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model / "scheduler", copied / "scheduler")
    file = copied / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"beta_schedule": "linear"}))
    linear, scaled = load_backbone(copied, CPU).schedule, load_backbone(tiny_model, CPU).schedule
    assert float(linear.alphas[500]) != float(scaled.alphas[500])


def test_defaults_are_the_bases_but_for_methods_of_its_own(copied: Path, tiny_model: Path) -> None:
    methods = {"st-modulator": {"steps": 30}, "reatco": {"steps": 7}}
    (copied.parent / tiny_model.name / "mattebox.json").write_text(
        json.dumps({"version": 1, "methods": methods})
    )
    own = {"version": 1, "base": tiny_model.name, "methods": {"reatco": {"window_frames": 6}}}
    (copied / "mattebox.json").write_text(json.dumps(own))
    assert load_backbone(copied, CPU).defaults == methods | {"reatco": {"window_frames": 6}}


@pytest.mark.parametrize("component", ["unet", "vae", "motion_adapter"])
def test_the_identity_covers_the_base_and_the_motion(
    copied: Path, tiny_model: Path, component: str, motion_backbone: Any
) -> None:
    assert load_backbone(copied, CPU).identity == motion_backbone.identity
    holder = copied if component == "motion_adapter" else copied.parent / tiny_model.name
    weights = next((holder / component).glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert load_backbone(copied, CPU).identity != motion_backbone.identity


def changed(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def pickled(folder: Path) -> None:
    weights = next((folder / "motion_adapter").glob("*.safetensors"))
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))


def truncated(folder: Path) -> None:
    weights = next((folder / "motion_adapter").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])


def of_other_channels(folder: Path) -> None:
    changed(folder / "motion_adapter" / "config.json", block_out_channels=[16, 64])


def of_another_depth(folder: Path) -> None:
    changed(folder / "motion_adapter" / "config.json", motion_layers_per_block=2)


def with_another_middle(folder: Path) -> None:
    motion = MotionAdapter.from_pretrained(folder / "motion_adapter")
    settings = {**motion.config, "motion_mid_block_layers_per_block": 2}
    names = ("block_out_channels", "motion_layers_per_block", "motion_num_attention_heads")
    names += ("motion_norm_num_groups", "motion_mid_block_layers_per_block")
    MotionAdapter(**{name: settings[name] for name in names}).save_pretrained(folder / "motion_adapter")


def of_another_class(folder: Path) -> None:
    changed(folder / "motion_adapter" / "config.json", _class_name="SparseControlNetModel")


def with_a_picture(folder: Path) -> None:
    changed(folder / "motion_adapter" / "config.json", conv_in_channels=9)


def without_motion(folder: Path) -> None:
    shutil.rmtree(folder / "motion_adapter")


def with_an_odd_base(folder: Path) -> None:
    changed(folder / "mattebox.json", base=7)


def on_another_family(folder: Path) -> None:
    changed(folder.parent / "tiny-sd" / "unet" / "config.json", _class_name="UNet3DConditionModel")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (pickled, "diffusion_pytorch_model.bin, a pickle that could run any code; convert it to safetensors"),
        (truncated, "The motion_adapter of the model motion cannot be loaded"),
        (of_other_channels, "levels have 16, 64 channels, and those of its UNet have 16, 32"),
        (of_another_depth, "levels have 2, 2 layers, and those of its UNet have 1, 1"),
        (with_another_middle, "The motion_adapter of the model motion cannot be loaded"),
        (of_another_class, "is a SparseControlNetModel; only MotionAdapter is known"),
        (with_a_picture, "takes a picture beside the latents"),
        (without_motion, "has neither a UNetMotionModel nor a motion_adapter folder"),
        (with_an_odd_base, "names no model as its base"),
        (on_another_family, "only UNetMotionModel or UNet2DConditionModel under CLIPTextModel"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_words(
    copied: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(copied)
    with pytest.raises(ModelRefused) as caught:
        load_backbone(copied, CPU)
    assert words in str(caught.value)


def test_it_also_runs_in_half_precision(
    tiny_motion: Path, some_latents: torch.Tensor, text: torch.Tensor, motion_backbone: Any
) -> None:
    half = load_backbone(tiny_motion, Device("cpu", 0, "bfloat16"))
    predicted = half.predict(some_latents, 300, text, BRANCHES, reach=Reach.OWN)
    expected = motion_backbone.predict(some_latents, 300, text, BRANCHES, reach=Reach.OWN)
    assert predicted.dtype == torch.float32
    assert (predicted - expected).square().mean() < 1e-3 * expected.square().mean()
