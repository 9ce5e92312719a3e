"""Writes a trained scorer as a folder that `CLIPModel` and `CLIPProcessor` load as they load any CLIP, and
reads it back.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPTokenizer

from mattebox_backend.pocket.errors import PocketError
from mattebox_backend.pocket.export import replaced_folder
from mattebox_backend.pocket.score.dataset import COLOURS, SHAPES
from mattebox_backend.pocket.score.model import AttributeHead, PocketScore, build_processor
from mattebox_backend.pocket.tokenizer import build_tokenizer

ATTRIBUTES = "attributes"
"""The classifier's files lie beside the CLIP under this name: classes as JSON, weights as safetensors."""


def export_score(folder: Path, model: PocketScore, notes: Mapping[str, str]) -> None:
    """Write ``folder``, float16 safetensors, with the files of ``notes`` (name to text).

    The folder appears whole or not at all; one that stood there before is replaced.
    """
    classes = {"input": "pooler_output", "shape": SHAPES, "colour": COLOURS}
    weights = {
        name: value.to(torch.float16).contiguous() for name, value in model.attributes.state_dict().items()
    }
    with replaced_folder(folder) as fresh:
        copy.deepcopy(model.clip).to(torch.float16).save_pretrained(fresh, safe_serialization=True)
        # one that was used remembers how it was asked to pad, and would ask for that ever after
        build_tokenizer(model.tokenizer.model_max_length).save_pretrained(fresh)
        build_processor(model.pixels).save_pretrained(fresh)
        save_file(weights, fresh / f"{ATTRIBUTES}.safetensors", {"format": "pt"})
        (fresh / f"{ATTRIBUTES}.json").write_text(json.dumps(classes, indent=1) + "\n", encoding="utf-8")
        for name, text in notes.items():
            (fresh / name).write_text(text, encoding="utf-8")


def load_score(folder: Path) -> PocketScore:
    """The scorer in ``folder``, with its classifier, in float32. Raises :class:`PocketError` when it is no
    such folder.
    """
    if not (folder / f"{ATTRIBUTES}.safetensors").is_file():
        raise PocketError(
            f"{folder} holds no {ATTRIBUTES}.safetensors; name a folder that mattebox-train pocket-score "
            "wrote."
        )
    try:
        clip = CLIPModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        head = AttributeHead(clip.config.vision_config.hidden_size)
        head.load_state_dict(load_file(folder / f"{ATTRIBUTES}.safetensors"))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise PocketError(f"The scorer in {folder} cannot be loaded: {error}.") from error
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    return PocketScore(
        clip.eval().requires_grad_(False), head.float().eval().requires_grad_(False), tokenizer
    )
