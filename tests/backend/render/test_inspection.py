"""An inspected render: the same bits, and beside them what attention and controls did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mattebox_backend.diffusion.inspection import read_inspection

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
