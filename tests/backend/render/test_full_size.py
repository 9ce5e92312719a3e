"""The configuration of Stable Diffusion 1.5 at its full size, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_edit_goes_through_stable_diffusion_at_full_size(
    tmp_path: Path, studio_of: Callable[..., Any], full_size_model: Callable[[Path], Path]
) -> None:
    from mattebox_backend.backbones import load_backbone
    from mattebox_backend.device import choose_device

    model = load_backbone(full_size_model(tmp_path / "sd15"), choose_device("cpu", precision="bfloat16"))
    assert sum(weight.numel() for weight in model.unet.parameters()) > 850e6  # type: ignore[attr-defined]
    assert {site.reduction for site in model.attention_sites()} == {1, 2, 4, 8}
    studio = studio_of(frames=2, height=256, width=256)
    studio.backbone = model
    params = {"steps": 2, "size": 256, "window": 20.0}
    frames, report = studio.render(params=params)
    assert frames.shape == (2, 256, 256, 3)
    assert report.background_exact_share == 1.0
    assert not np.array_equal(frames, studio.source)
    again, cached = studio.render(params=params)
    assert cached.inversion_cached
    assert np.array_equal(frames, again)
