"""Any CLIP folder, loaded as its own library loads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mattebox_backend.device import Device
from mattebox_backend.errors import ModelRefused
from mattebox_backend.metrics.scorer import Scorer, open_scorer
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPProcessor

CPU = Device("cpu", 0, "float32")


def pictures(count: int, height: int = 24, width: int = 40) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (count, height, width, 3), np.uint8))


def test_its_embeddings_are_those_of_the_librarys_own_processor_and_model(
    scorer: Scorer, tiny_scorer: Path
) -> None:
    model = CLIPModel.from_pretrained(tiny_scorer, dtype=torch.float32)
    processor = CLIPProcessor.from_pretrained(tiny_scorer)
    shown, texts = pictures(3), ["a red star", "a blue circle and a green ring on a gray background"]
    inputs = processor(text=texts, images=shown, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs)
    found = scorer.embed_pictures(shown), scorer.embed_texts(texts)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in found]
    np.testing.assert_allclose(unit[0], expected.image_embeds.numpy(), atol=1e-5)
    np.testing.assert_allclose(unit[1], expected.text_embeds.numpy(), atol=1e-5)


def test_more_pictures_than_fit_one_pass_and_other_sizes_change_nothing(scorer: Scorer) -> None:
    many = pictures(40)
    np.testing.assert_allclose(
        scorer.embed_pictures(many)[[0, 39]], scorer.embed_pictures([many[0], many[39]]), atol=1e-6
    )
    assert scorer.embed_pictures([many[0][:1, :3], many[1]]).shape == (2, 12)
    assert scorer.embed_pictures([]).shape == (0, 12)


def test_a_text_longer_than_it_reads_is_cut_off(scorer: Scorer) -> None:
    long = "a red star and " * 40
    assert np.isfinite(scorer.embed_texts([long])).all()


def test_states_lie_where_the_picture_has_them_and_nothing_is_cut_off(scorer: Scorer) -> None:
    first = np.zeros((20, 60, 3), np.uint8)
    second = first.copy()
    second[:, 55:] = 255  # beyond the middle square that a CLIP reads
    one, other = scorer.layers([first]), scorer.layers([second])
    assert [layer.shape for layer in one] == [(1, 4, 4, 16)] * 2
    apart = np.abs(one[0] - other[0]).sum(axis=-1)[0]
    assert apart[:, 3].min() > apart[:, :3].max()


def test_a_device_of_half_precision_runs_it_in_full(tiny_scorer: Path, scorer: Scorer) -> None:
    half = open_scorer(tiny_scorer, Device("cpu", 0, "bfloat16"))
    assert half.module.dtype == torch.float32
    assert half.identity == scorer.identity
    half.unload()
    assert half.module is None


def test_other_weights_are_another_identity(tiny_scorer: Path, tmp_path: Path, scorer: Scorer) -> None:
    other = shutil.copytree(tiny_scorer, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    weights["logit_scale"] = weights["logit_scale"] + 1
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    assert open_scorer(other, CPU).identity != scorer.identity


def test_what_is_no_scorer_is_refused_in_words(tiny_scorer: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"config\.json is missing"):
        open_scorer(tiny_model, CPU)
    folder = shutil.copytree(tiny_scorer, tmp_path / "broken")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "siglip"}))
    with pytest.raises(ModelRefused, match="of type siglip and no CLIP"):
        open_scorer(folder, CPU)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ModelRefused, match="tokenizer or image processor of the model broken cannot be"):
        open_scorer(folder, CPU)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    (folder / "pytorch_model.bin").touch()
    with pytest.raises(ModelRefused, match=r"pytorch_model\.bin, a pickle that could run"):
        open_scorer(folder, CPU)
