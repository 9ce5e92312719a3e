"""Attention rows, k-means over them, and masks out of labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.attention import Reach, SiteKind
from mattebox_backend.attention.capture import MapCapture
from mattebox_backend.attention.rows import RowFeatures
from mattebox_backend.segment.clusters import cluster, label_masks


def caught(backbone: Any, listener: Any, frames: int = 3, size: tuple[int, int] = (8, 6)) -> None:
    torch.manual_seed(0)
    latents = torch.randn(1, frames, 4, *size)
    text = backbone.embed("a red circle").states.unsqueeze(0)
    with torch.no_grad(), listener.listening():
        backbone.predict(latents, 300, text, ["source"], reach=Reach.ALL)


def sites_of(backbone: Any, reduction: int) -> list[Any]:
    return [
        site
        for site in backbone.attention_sites()
        if site.kind is SiteKind.SELF and site.reduction == reduction
    ]


@pytest.mark.parametrize("reduction", [1, 2])
def test_short_rows_are_the_mean_of_the_maps_themselves(backbone: Any, reduction: int) -> None:
    sites = sites_of(backbone, reduction)
    maps = MapCapture(backbone.switchboard, sites, "source")
    rows = RowFeatures(backbone.switchboard, sites, "source", length=10_000)
    caught(backbone, maps)
    caught(backbone, rows)
    expected = torch.stack(list(maps.maps().values())).double().mean(0)
    torch.testing.assert_close(rows.features().double(), expected, atol=1e-6, rtol=1e-5)


def test_projected_rows_keep_their_distances(backbone: Any) -> None:
    sites = sites_of(backbone, 1)
    whole = RowFeatures(backbone.switchboard, sites, "source", length=10_000)
    short = RowFeatures(backbone.switchboard, sites, "source", length=96, seed=4)
    again = RowFeatures(backbone.switchboard, sites, "source", length=96, seed=4)
    for listener in (whole, short, again):
        caught(backbone, listener)
    assert short.features().shape == (3 * 48, 96)
    assert torch.equal(short.features(), again.features())
    near, far = (torch.pdist(one.features().double()) for one in (short, whole))
    assert torch.corrcoef(torch.stack([near, far]))[0, 1] > 0.9
    assert float((near / far).median()) == pytest.approx(1, abs=0.1)


def test_clusters_are_the_groups_that_there_are_whatever_the_seed() -> None:
    rng = np.random.default_rng(1)
    centres = rng.normal(0, 10, (3, 8))
    truth = rng.integers(0, 3, 200)
    features = (centres[truth] + rng.normal(0, 0.5, (200, 8))).astype(np.float32)
    for seed in (0, 1, 2**40):
        found = cluster(features, 3, seed)
        assert found.shape == (200,)
        pairs = {(int(a), int(b)) for a, b in zip(truth, found, strict=True)}
        assert len(pairs) == 3, "a group was split or joined"
        assert np.array_equal(found, cluster(features, 3, seed))


def test_as_many_clusters_as_tokens_and_all_alike_are_legal() -> None:
    assert sorted(cluster(np.eye(4, dtype=np.float32), 4, 0)) == [0, 1, 2, 3]
    assert set(cluster(np.zeros((5, 3), np.float32), 2, 0)) <= {0, 1}
    with pytest.raises(ValueError, match="2 tokens cannot make 3 clusters"):
        cluster(np.zeros((2, 3), np.float32), 3, 0)


def reference_owner(labels: np.ndarray, count: int, y: float, x: float) -> list[float]:
    """The bilinear share of each label at a place, in token units."""
    height, width = labels.shape
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    shares = [0.0] * count
    for row, of_row in ((top, 1 - (y - top)), (min(top + 1, height - 1), y - top)):
        for column, of_column in ((left, 1 - (x - left)), (min(left + 1, width - 1), x - left)):
            shares[labels[row, column]] += of_row * of_column
    return shares


@pytest.mark.parametrize(("tokens", "pixels"), [((4, 3), (26, 21)), ((1, 1), (5, 7)), ((2, 6), (16, 48))])
def test_masks_part_every_frame_by_the_largest_bilinear_share(
    tokens: tuple[int, int], pixels: tuple[int, int]
) -> None:
    labels = np.random.default_rng(2).integers(0, 3, (2, *tokens)).astype(np.int32)
    masks = label_masks(labels, 3, *pixels)
    assert masks.shape == (3, 2, *pixels)
    assert set(np.unique(masks)) <= {0, 255}
    assert ((masks > 0).sum(axis=0) == 1).all()
    for frame in range(2):
        for row in range(pixels[0]):
            for column in range(pixels[1]):
                y = (row + 0.5) * tokens[0] / pixels[0] - 0.5
                x = (column + 0.5) * tokens[1] / pixels[1] - 0.5
                shares = reference_owner(labels[frame], 3, y, x)
                owner = int(masks[:, frame, row, column].argmax())
                assert shares[owner] == pytest.approx(max(shares), abs=1e-4)
