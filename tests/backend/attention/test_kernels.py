"""The kernels against the formula written out, on whole matrices."""

from __future__ import annotations

import math

import pytest
import torch
from mattebox_backend.attention import AttentionMaps, LowRankBias, RowExtremes, attend, kernels

BATCH, HEADS, DEPTH = 2, 3, 20


def tensors(rows: int = 96, keys: int = 96) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    query = 2 * torch.randn(BATCH, HEADS, rows, DEPTH)
    return query, 2 * torch.randn(BATCH, HEADS, keys, DEPTH), torch.randn(BATCH, HEADS, keys, DEPTH)


def logits_of(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    return query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])


def row_extremes_naive(logits: torch.Tensor, term: RowExtremes) -> torch.Tensor:
    """The published formula, on explicit R and explicit row extremes."""
    relation = term.relation[term.query_classes][:, term.key_classes]
    strength = term.strength.unsqueeze(-1)
    positive = strength * (relation > 0) * (logits.amax(-1, keepdim=True) - logits)
    negative = strength * (relation < 0) * (logits - logits.amin(-1, keepdim=True))
    return logits + positive - negative


def random_term(rows: int, keys: int, *, neutral: bool = False) -> RowExtremes:
    torch.manual_seed(4)
    relation = torch.tensor([[1, -1, -1], [-1, 1, -1], [-1, 1, 1]], dtype=torch.int8)
    if neutral:
        relation[1, 2] = 0
    return RowExtremes(torch.randint(0, 3, (rows,)), torch.randint(0, 3, (keys,)), relation, torch.rand(rows))


def test_plain_attention_is_softmax_of_scaled_products() -> None:
    query, key, value = tensors()
    torch.testing.assert_close(attend(query, key, value), logits_of(query, key).softmax(-1) @ value)


@pytest.mark.parametrize("neutral", [False, True], ids=["folded", "blocked"])
@pytest.mark.parametrize(("rows", "keys"), [(96, 96), (50, 7), (1, 1), (33, 130)])
def test_row_extremes_equal_the_formula(rows: int, keys: int, neutral: bool) -> None:
    query, key, value = tensors(rows, keys)
    term = random_term(rows, keys, neutral=neutral)
    expected = row_extremes_naive(logits_of(query, key), term).softmax(-1) @ value
    torch.testing.assert_close(attend(query, key, value, [term]), expected, atol=1e-5, rtol=0)


def test_only_pairs_of_modulated_rows_decide_whether_a_term_folds() -> None:
    term = random_term(12, 12, neutral=True)
    assert not term.folds
    silent = torch.where(term.query_classes == 1, 0.0, term.strength)
    assert RowExtremes(term.query_classes, term.key_classes, term.relation, silent).folds


@pytest.mark.parametrize("blocks", [(8 << 20, 256 << 20), (4096, 65536)], ids=["one block", "many blocks"])
def test_the_size_of_blocks_does_not_matter(blocks: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_CACHE_BLOCK_BYTES", blocks[0])
    monkeypatch.setattr(kernels, "_GPU_BLOCK_BYTES", blocks[1])
    query, key, value = tensors(200, 2100)
    for neutral in (False, True):
        term = random_term(200, 2100, neutral=neutral)
        expected = row_extremes_naive(logits_of(query, key), term).softmax(-1) @ value
        torch.testing.assert_close(attend(query, key, value, [term]), expected, atol=1e-5, rtol=0)


def test_a_low_rank_bias_is_added_to_the_logits() -> None:
    query, key, value = tensors()
    mask = torch.rand(96, 1)
    factors = torch.cat([mask, 1 - mask], -1)
    term = LowRankBias(factors @ torch.tensor([[3.0, -2.0], [-1.0, 0.0]]), factors)
    expected = (logits_of(query, key) + term.query @ term.key.T).softmax(-1) @ value
    torch.testing.assert_close(attend(query, key, value, [term]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("neutral", [False, True], ids=["folded", "blocked"])
def test_terms_apply_in_order(neutral: bool) -> None:
    query, key, value = tensors()
    bias = LowRankBias(torch.randn(96, 2), torch.randn(96, 2))
    extremes = random_term(96, 96, neutral=neutral)
    logits = logits_of(query, key)
    biased_first = row_extremes_naive(logits + bias.query @ bias.key.T, extremes).softmax(-1) @ value
    biased_last = (row_extremes_naive(logits, extremes) + bias.query @ bias.key.T).softmax(-1) @ value
    torch.testing.assert_close(attend(query, key, value, [bias, extremes]), biased_first, atol=2e-5, rtol=0)
    torch.testing.assert_close(attend(query, key, value, [extremes, bias]), biased_last, atol=2e-5, rtol=0)
    assert not torch.allclose(biased_first, biased_last, atol=1e-2)


def test_maps_can_be_read_and_replaced() -> None:
    query, key, value = tensors(40, 24)
    seen: list[tuple[slice, torch.Tensor]] = []

    def first_key_only(maps: torch.Tensor, rows: slice) -> torch.Tensor:
        seen.append((rows, maps))
        return torch.nn.functional.one_hot(torch.zeros(maps.shape[:-1], dtype=torch.long), 24).to(maps)

    result = attend(query, key, value, [AttentionMaps(first_key_only)])
    torch.testing.assert_close(result, value[..., :1, :].expand_as(result))
    maps = torch.cat([block for _, block in seen], dim=-2)
    torch.testing.assert_close(maps, logits_of(query, key).softmax(-1))


def test_half_precision_keeps_the_bias_that_it_cannot_hold_in_one_number() -> None:
    query, key, value = tensors()
    term = RowExtremes(
        torch.zeros(96, dtype=torch.long),
        (torch.arange(96) % 2),
        torch.tensor([[1, -1]], dtype=torch.int8),
        torch.full((96,), 0.9),
    )
    half = [tensor.to(torch.bfloat16) for tensor in (query, key, value)]
    exact = attend(*(tensor.float() for tensor in half), [term])
    torch.testing.assert_close(attend(*half, [term]).float(), exact, atol=0.03, rtol=0)


def test_equal_logits_give_no_nan() -> None:
    query, key, value = (torch.zeros(1, 1, 8, 4) for _ in range(3))
    assert torch.isfinite(attend(query, key, value, [random_term(8, 8)])).all()
