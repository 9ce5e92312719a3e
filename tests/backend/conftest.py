"""A tiny model with random weights, in the layout of Stable Diffusion 1.5, for everything in the backend
that loads one.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mattebox_backend.backbones.hunyuan_video import HunyuanVideo
    from mattebox_backend.backbones.protocol import Backbone
    from mattebox_backend.backbones.wan import Wan
    from mattebox_backend.metrics.scorer import Scorer

WORDS = "a an and red blue green circle square shiny on gray background hat man the".split()  # noqa: SIM905


def build_tokenizer(length: int = 24) -> Any:
    """A CLIP tokenizer that knows `WORDS` as whole words and spells out all others."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    vocabulary = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        tail = word[-1] + "</w>"
        for letter in reversed(word[:-1]):
            if (letter, tail) not in merges:
                merges.append((letter, tail))
            tail = letter + tail
            if tail not in vocabulary:
                vocabulary.append(tail)
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={t: i for i, t in enumerate(vocabulary)}, merges=merges, model_max_length=length
    )


def save_model(folder: Path, unet: Any, vae: Any, text_encoder: Any, tokenizer: Any) -> Path:
    """A model folder in diffusers layout, safetensors only."""
    from diffusers import DDIMScheduler

    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    text_encoder.save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    ).save_pretrained(folder / "scheduler")
    return folder


def build_text_encoder(tokenizer: Any, width: int = 32) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_tiny_model(folder: Path) -> Path:
    """Saves a model: 8×8 latents of 64×64 pixels, attention at 8² and 4²."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    torch.manual_seed(7)
    tokenizer = build_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
    )
    return save_model(folder, unet, vae, build_text_encoder(tokenizer), tokenizer)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder; see `build_tiny_model`."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny-sd")


def build_tiny_motion(folder: Path, base: str) -> Path:
    """Saves motion modules for the tiny model, over up to 6 frames, in a folder that names it as its base."""
    import torch
    from diffusers import MotionAdapter

    torch.manual_seed(8)
    MotionAdapter(
        block_out_channels=(16, 32),
        motion_layers_per_block=1,
        motion_num_attention_heads=2,
        motion_norm_num_groups=8,
        motion_max_seq_length=6,
    ).save_pretrained(folder / "motion_adapter")
    (folder / "model_index.json").write_text('{"_class_name": "AnimateDiffPipeline"}')
    (folder / "mattebox.json").write_text(json.dumps({"version": 1, "base": base, "methods": {}}))
    return folder


def build_tiny_controlnet(model: Path, folder: Path) -> Path:
    """Saves a ControlNet for a model, whose layers have all been moved off zero."""
    import torch
    from diffusers import ControlNetModel, UNet2DConditionModel

    torch.manual_seed(11)
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 4, 8, 8))
    with torch.no_grad():
        for parameter in controlnet.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.2)
    controlnet.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_controlnet(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a ControlNet for the tiny model; see `build_tiny_controlnet`."""
    return build_tiny_controlnet(tiny_model, tmp_path_factory.mktemp("controlnets") / "tiny-controlnet")


@pytest.fixture(scope="session")
def tiny_motion(tiny_model: Path) -> Path:
    """A motion folder beside the tiny model; see `build_tiny_motion`."""
    return build_tiny_motion(tiny_model.parent / "tiny-motion", tiny_model.name)


def build_t5_tokenizer() -> Any:
    """A T5 tokenizer that knows `WORDS` as whole words and spells out all others."""
    from transformers import T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -1.0) for word in WORDS if word != "a"]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz,."]
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def build_picture_encoder() -> Any:
    """The picture half of a CLIP that sees 16×16 pixels in patches of 8×8, and what prepares its pictures."""
    from transformers import CLIPVisionConfig, CLIPVisionModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    encoder = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=24,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
        )
    )
    size = {"height": 16, "width": 16}
    return encoder.eval(), CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=size)


def build_tiny_wan(folder: Path) -> Path:
    """Saves a Wan image-to-video model as diffusers saves one: 8×8 pixels to a latent cell, 4 frames to a
    latent frame, 3 blocks.
    """
    import torch
    from diffusers import (
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        WanImageToVideoPipeline,
        WanTransformer3DModel,
    )
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(9)
    tokenizer = build_t5_tokenizer()
    picture_encoder, picture_processor = build_picture_encoder()
    text_config = UMT5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, dropout_rate=0.0
    )
    WanImageToVideoPipeline(
        tokenizer=tokenizer,
        text_encoder=UMT5EncoderModel(text_config).eval(),
        vae=AutoencoderKLWan(
            base_dim=8,
            z_dim=16,
            dim_mult=[1, 1, 2, 2],
            num_res_blocks=1,
            latents_mean=(0.3 * torch.randn(16)).tolist(),
            latents_std=(0.5 + torch.rand(16)).tolist(),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        image_processor=picture_processor,
        image_encoder=picture_encoder,
        transformer=WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=36,
            out_channels=16,
            text_dim=32,
            freq_dim=16,
            ffn_dim=48,
            num_layers=3,
            image_dim=24,
            added_kv_proj_dim=32,
            rope_max_seq_len=32,
        ),
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Wan image-to-video model with random weights; see `build_tiny_wan`."""
    return build_tiny_wan(tmp_path_factory.mktemp("video-models") / "tiny-wan")


@pytest.fixture(scope="session")
def _loaded_wan(tiny_wan: Path) -> Wan:
    from mattebox_backend.backbones.folder import ModelFolder
    from mattebox_backend.backbones.wan import Wan
    from mattebox_backend.device import Device

    return Wan.load(ModelFolder.open(tiny_wan), Device("cpu", 0, "float32"))


@pytest.fixture
def wan(_loaded_wan: Wan) -> Iterator[Wan]:
    """The tiny Wan, loaded; every test has to leave its network without hooks and adapters, and frozen."""
    with left_alone(_loaded_wan.network):
        yield _loaded_wan


@contextmanager
def left_alone(network: Any) -> Iterator[None]:
    """After the block a network has to have no hooks and adapters, and to be frozen."""
    names = [name for name, _ in network.named_modules()]
    yield
    assert [name for name, _ in network.named_modules()] == names
    assert not any(module._forward_pre_hooks for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def build_llama_tokenizer(template: str) -> Any:
    """A tokenizer that knows the words of a template and `WORDS`, and splits them as Llama 3's does where
    HunyuanVideo counts: the picture at 5, the prompt at 103.
    """
    import re

    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<image>"]
    special += ["<pad>", "<unk>"]
    split = r"\n\n|\n| tempo(?=ral)|ral| ?\w+|[^\w\s]"
    everything = template.replace("{}", " ".join(WORDS) + "\n" + "\n".join(WORDS))
    plain = re.sub("|".join(map(re.escape, special)), "\0", everything)
    words = [*special, *sorted(set(re.findall(split, plain)))]
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(split), "removed", invert=True)
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{special[0]} $A", special_tokens=[(special[0], 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=special[0], pad_token="<pad>", unk_token="<unk>"
    )


def build_tiny_hunyuan(folder: Path) -> Path:
    """Saves a HunyuanVideo image-to-video model of 33 channels as diffusers saves one: 8×8 pixels to a latent
    cell, 4 frames to a latent frame, 2 blocks of either kind; the picture is seen as 576 patches.
    """
    import torch
    from diffusers import (
        AutoencoderKLHunyuanVideo,
        FlowMatchEulerDiscreteScheduler,
        HunyuanVideoImageToVideoPipeline,
        HunyuanVideoTransformer3DModel,
    )
    from diffusers.pipelines.hunyuan_video import pipeline_hunyuan_video_image2video as pipeline
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.manual_seed(10)
    tokenizer = build_llama_tokenizer(pipeline.DEFAULT_PROMPT_TEMPLATE["template"])
    words = build_tokenizer(77)
    sizes = {"num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32}
    llava = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=48, patch_size=2, hidden_size=16, **sizes),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, **{**sizes, "num_hidden_layers": 4}, pad_token_id=5
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
    )
    size = {"height": 48, "width": 48}
    HunyuanVideoImageToVideoPipeline(
        text_encoder=LlavaForConditionalGeneration(llava).eval(),
        tokenizer=tokenizer,
        transformer=HunyuanVideoTransformer3DModel(
            in_channels=33,
            out_channels=16,
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=2,
            num_single_layers=2,
            num_refiner_layers=1,
            mlp_ratio=2.0,
            text_embed_dim=32,
            pooled_projection_dim=24,
            rope_axes_dim=(4, 6, 6),
            image_condition_type="latent_concat",
        ),
        vae=AutoencoderKLHunyuanVideo(
            block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, scaling_factor=0.48
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder_2=build_text_encoder(words, width=24).eval(),
        tokenizer_2=words,
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size=size),
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_hunyuan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a HunyuanVideo model with random weights; see `build_tiny_hunyuan`."""
    return build_tiny_hunyuan(tmp_path_factory.mktemp("video-models") / "tiny-hunyuan")


@pytest.fixture(scope="session")
def _loaded_hunyuan(tiny_hunyuan: Path) -> HunyuanVideo:
    from mattebox_backend.backbones.folder import ModelFolder
    from mattebox_backend.backbones.hunyuan_video import HunyuanVideo
    from mattebox_backend.device import Device

    return HunyuanVideo.load(ModelFolder.open(tiny_hunyuan), Device("cpu", 0, "float32"))


@pytest.fixture
def hunyuan(_loaded_hunyuan: HunyuanVideo) -> Iterator[HunyuanVideo]:
    """The tiny HunyuanVideo, loaded, under the same condition as `wan`."""
    with left_alone(_loaded_hunyuan.network):
        yield _loaded_hunyuan


@pytest.fixture(scope="session")
def _loaded_motion(tiny_motion: Path) -> Backbone:
    from mattebox_backend.backbones import load_backbone
    from mattebox_backend.device import Device

    return load_backbone(tiny_motion, Device("cpu", 0, "float32"))


@pytest.fixture
def motion_backbone(_loaded_motion: Backbone) -> Iterator[Backbone]:
    """The tiny model with motion modules; every test has to leave its attention sites without listeners."""
    yield _loaded_motion
    sites = _loaded_motion.attention_sites()
    listening = [site.name for site in sites if _loaded_motion.switchboard.listeners(site)]
    assert listening == [], "controls were left on attention sites"


@pytest.fixture(scope="session")
def _loaded(tiny_model: Path) -> Backbone:
    from mattebox_backend.backbones import load_backbone
    from mattebox_backend.device import Device

    return load_backbone(tiny_model, Device("cpu", 0, "float32"))


@pytest.fixture(scope="session")
def region_model(tiny_model: Path, _loaded: Backbone) -> Path:
    """A region model that grew from the tiny one and lies beside it, with all that it learns set."""
    import torch
    from mattebox_backend.backbones.region_network import RegionDesign
    from mattebox_backend.backbones.stable_diffusion import StableDiffusion
    from mattebox_backend.pocket.roi.export import export_pocket_roi
    from mattebox_backend.pocket.roi.network import grow

    base = _loaded
    assert isinstance(base, StableDiffusion)
    network = grow(base.unet, RegionDesign())
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in (*network.pyramid, network.self_bias, network.routing, network.unet.conv_in.weight):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    export_pocket_roi(tiny_model.parent / "tiny-roi", network, tiny_model.name, {})
    return tiny_model.parent / "tiny-roi"


@pytest.fixture
def backbone(_loaded: Backbone) -> Iterator[Backbone]:
    """The tiny model, loaded; every test has to leave its attention sites without listeners."""
    yield _loaded
    listening = [site.name for site in _loaded.attention_sites() if _loaded.switchboard.listeners(site)]
    assert listening == [], "controls were left on attention sites"


@pytest.fixture(scope="session")
def tiny_scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a CLIP with random weights that sees 16×16 pixels in patches of 4×4."""
    import torch
    from mattebox_backend.pocket.config import TextConfig
    from mattebox_backend.pocket.score.config import PocketScoreConfig, VisionConfig
    from mattebox_backend.pocket.score.export import export_score
    from mattebox_backend.pocket.score.model import AttributeHead, PocketScore, build_clip
    from mattebox_backend.pocket.tokenizer import build_tokenizer as build_world_tokenizer

    torch.manual_seed(12)
    config = PocketScoreConfig(
        embedding=12,
        vision=VisionConfig(size=16, patch=4, width=16, layers=2, heads=2),
        text=TextConfig(width=16, layers=1, heads=2, length=32),
    )
    tokenizer = build_world_tokenizer(32)
    folder = tmp_path_factory.mktemp("scorers") / "tiny-scorer"
    export_score(folder, PocketScore(build_clip(config, tokenizer), AttributeHead(16), tokenizer), {})
    return folder


@pytest.fixture(scope="session")
def scorer(tiny_scorer: Path) -> Scorer:
    """The tiny scorer, loaded."""
    from mattebox_backend.device import Device
    from mattebox_backend.models.registry import ModelRegistry

    return ModelRegistry().load_scorer(str(tiny_scorer), Device("cpu", 0, "float32"))


@pytest.fixture(scope="session")
def florences() -> ModuleType:
    """`tiny_florence`: what makes a captioner, and the pictures that it knows."""
    source = Path(__file__).with_name("tiny_florence.py")
    spec = importlib.util.spec_from_file_location("tiny_florence", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny_captioner(florences: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Florence-2 that knows two pictures; tests leave it as it is."""
    made: Path = florences.build_tiny_captioner(tmp_path_factory.mktemp("captioners") / "tiny-florence")
    return made
