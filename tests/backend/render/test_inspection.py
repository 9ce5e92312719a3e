"""An inspected render: the same bits, and beside them what attention and controls did."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mattebox_backend.diffusion.inspection import read_clusters, read_inspection
from mattebox_backend.diffusion.schedule import felt_log_snr
from mattebox_backend.segment.clusters import cluster

PARAMS = {"steps": 6, "window": 20.0, "map_reduction": 2, "refinements": 0}


@pytest.fixture
def studio(studio_of: Any) -> Any:
    studio = studio_of()
    studio.edit = replace(studio.edit, method="reatco", params=PARAMS)
    return studio


def test_looking_changes_no_bit(studio: Any) -> None:
    plain, _ = studio.render()
    assert not (studio.paths.checkpoint / "inspection").exists()
    looked_at, _ = studio.render(inspect=True)
    assert np.array_equal(plain, looked_at)
    assert studio.edit.content_hash() == replace(studio.edit, inspect=True).content_hash()


def test_every_word_is_there_with_its_region_and_maps_that_are_probabilities(studio: Any) -> None:
    studio.render(inspect=True)
    words, looks = read_inspection(studio.paths.checkpoint / "inspection")
    assert [word.text for word in words] == studio.edit.prompt.split()
    assert [word.region for word in words][:3] == ["left"] * 3
    assert [word.region for word in words][4:7] == ["right"] * 3
    assert words[3].region == ""
    assert [look.index for look in looks] == list(range(6)), "six steps are few enough to see all"
    assert [look.level for look in looks] == sorted(look.level for look in looks)
    for look in looks:
        assert look.attention.shape == (len(words), 3, 8, 8)
        assert (look.attention >= 0).all()
        # Start, end and padding take the rest.
        assert (look.attention.astype(float).sum(0) <= 1.001).all()
    assert {"re-attention", "guidance away from unconditional"} <= set(looks[0].controls)
    assert looks[0].controls["re-attention"].shape == (3, 8, 8)


def test_maps_are_those_of_the_prediction(studio: Any, backbone: Any) -> None:
    """One cross-attention layer's softmax, computed beside our kernels."""
    import torch

    inputs: dict[str, Any] = {}
    hooks = [
        backbone.unet.get_submodule(site.name).register_forward_pre_hook(
            lambda _, args, kwargs, name=site.name: inputs.__setitem__(name, (args[0], kwargs)),
            with_kwargs=True,
        )
        for site in backbone.attention_sites()
        if site.kind == "cross"
    ]
    try:
        studio.render(inspect=True, params=PARAMS | {"steps": 1, "reattention": False, "guidance": 1.0})
    finally:
        for hook in hooks:
            hook.remove()
    words, (look,) = read_inspection(studio.paths.checkpoint / "inspection")
    total = torch.zeros(3, 8, 8, dtype=torch.float64)
    for site in (s for s in backbone.attention_sites() if s.kind == "cross"):
        layer = backbone.unet.get_submodule(site.name)
        hidden, kwargs = inputs[site.name]
        query = layer.to_q(hidden).unflatten(-1, (layer.heads, -1)).double()
        key = layer.to_k(kwargs["encoder_hidden_states"][0]).unflatten(-1, (layer.heads, -1)).double()
        logits = torch.einsum("fnhd,khd->fhnk", query, key) / query.shape[-1] ** 0.5
        of_word = logits.softmax(-1)[..., list(words[1].positions)].mean((1, 3))
        plane = of_word.view(1, 3, *site.grid(8, 8))
        total += torch.nn.functional.interpolate(plane, (8, 8), mode="bilinear")[0]
    sites = sum(s.kind == "cross" for s in backbone.attention_sites())
    np.testing.assert_allclose(look.attention[1].astype(float), (total / sites).detach().numpy(), atol=2e-3)


def test_windows_fill_the_whole_clip(studio: Any) -> None:
    params = PARAMS | {"window_frames": 2, "window_stride": 1, "steps": 2}
    studio.render(inspect=True, params=params)
    _, looks = read_inspection(studio.paths.checkpoint / "inspection")
    for look in looks:
        assert look.attention.shape[1] == 3
        assert (look.attention.astype(float).sum((0, 2, 3)) > 0).all()


def test_a_folder_that_was_never_filled_holds_nothing(tmp_path: Path) -> None:
    assert read_inspection(tmp_path) == ([], [])
    assert read_clusters(tmp_path) is None


def test_clusters_are_those_of_the_inversions_self_attention(studio: Any, backbone: Any) -> None:
    import torch

    studio.render(inspect=True)
    found = read_clusters(studio.paths.checkpoint / "inspection")
    assert found is not None
    (file,) = studio.paths.inversions.rglob("*.npy")
    trajectory = np.load(file).astype(np.float32)
    grid = backbone.schedule.grid(6)
    felt = [felt_log_snr(grid.log_snr(level), 8, 8) for level in range(6)]
    level = next((n for n, value in enumerate(felt) if value <= 0.6), 5)
    assert found.level == pytest.approx(felt[level])

    # One self-attention layer after the other, its softmax over the tokens of all frames beside our kernels.
    inputs: dict[str, torch.Tensor] = {}
    sites = [site for site in backbone.attention_sites() if site.kind == "self" and site.reduction == 1]
    hooks = [
        backbone.unet.get_submodule(site.name).register_forward_pre_hook(
            lambda _, args, kwargs, name=site.name: inputs.__setitem__(name, args[0]), with_kwargs=True
        )
        for site in sites
    ]
    text = backbone.embed(studio.edit.source_prompt).states
    with torch.no_grad():
        latents = torch.from_numpy(trajectory[level])
        backbone.predict(latents[None], grid.timesteps[level], text[None], ["source"])
        for hook in hooks:
            hook.remove()
        rows = torch.zeros(3 * 64, 3 * 64, dtype=torch.float64)
        for site in sites:
            layer, hidden = backbone.unet.get_submodule(site.name), inputs[site.name].flatten(0, 1)
            query = layer.to_q(hidden).unflatten(-1, (layer.heads, -1)).double()
            key = layer.to_k(hidden).unflatten(-1, (layer.heads, -1)).double()
            logits = torch.einsum("nhd,khd->hnk", query, key) / query.shape[-1] ** 0.5
            rows += logits.softmax(-1).mean(0) / len(sites)
    labels = cluster(rows.numpy().astype(np.float32), 5, studio.edit.seed).reshape(3, 8, 8)
    assert len(np.unique(found.labels)) == 5
    # The same parting, up to tokens between two clusters that rounding may move.
    assert np.mean(found.labels == labels) > 0.95


def test_clusters_are_of_the_source_whatever_the_edit_asks_for(studio: Any) -> None:
    studio.render(inspect=True)
    one = read_clusters(studio.paths.checkpoint / "inspection")
    shutil.rmtree(studio.paths.checkpoint)
    studio.render(inspect=True, params=PARAMS | {"guidance": 2.0, "reattention": False})
    two = read_clusters(studio.paths.checkpoint / "inspection")
    assert one is not None
    assert two is not None
    assert np.array_equal(one.labels, two.labels)


def test_a_model_that_cannot_see_the_clip_at_once_leaves_no_clusters(
    studio: Any, backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(backbone), "frame_limit", 2)
    studio.render(inspect=True, params=PARAMS | {"window_frames": 2, "steps": 1})
    folder = studio.paths.checkpoint / "inspection"
    assert read_clusters(folder) is None
    assert len(read_inspection(folder)[1]) == 1
