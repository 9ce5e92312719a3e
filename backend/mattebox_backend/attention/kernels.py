"""The kernels: fused attention, with terms folded into it where they allow, in blocks of query rows where
not.

All take queries (B, H, N, d), keys and values (B, H, K, d) of one floating-point type, give (B, H, N, d),
and never hold N×K logits: at most one block of rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn.functional import one_hot, pad, scaled_dot_product_attention

from mattebox_backend.attention.terms import AttentionMaps, LowRankBias, Projections, RowExtremes, Term

_CACHE_BLOCK_BYTES = 4 << 20
"""On a CPU a block of logits should stay in the last-level cache: it is made, and read twice."""
_GPU_BLOCK_BYTES = 256 << 20


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, terms: Sequence[Term] = ()
) -> torch.Tensor:
    """Attention under `terms`, applied in order (projections before all else), by the cheapest kernel that
    they allow.
    """
    for term in terms:
        if isinstance(term, Projections):
            query, key, value = term.edit(query, key, value)
    terms = [term for term in terms if not isinstance(term, Projections)]
    if not terms:
        return scaled_dot_product_attention(query, key, value)
    query = query / math.sqrt(query.shape[-1])
    if all(isinstance(term, LowRankBias) or (isinstance(term, RowExtremes) and term.folds) for term in terms):
        for term in terms:
            query, key = _fold(query, key, term)
        return _fused(query, key, value)
    return _blocked(query, key, value, terms)


def _fused(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Fused attention on logits `q·k` (scale 1); the vectors of queries and keys may be longer than the
    values'.
    """
    depth = value.shape[-1]
    # One length for all three, a multiple of 8, is what the fast paths of every device want.
    length = -(-query.shape[-1] // 8) * 8
    query, key, value = (pad(tensor, (0, length - tensor.shape[-1])) for tensor in (query, key, value))
    return scaled_dot_product_attention(query, key, value, scale=1.0)[..., :depth]


def _fold(query: torch.Tensor, key: torch.Tensor, term: Term) -> tuple[torch.Tensor, torch.Tensor]:
    """Lengthen queries and keys so that their products are the logits after `term`."""
    if isinstance(term, LowRankBias):
        return _lengthen(query, key, term.query, term.key)
    if isinstance(term, RowExtremes):
        return _fold_row_extremes(query, key, term)
    raise TypeError(f"{type(term).__name__} cannot be folded into queries and keys.")


def _fold_row_extremes(
    query: torch.Tensor, key: torch.Tensor, term: RowExtremes
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row-extreme modulation as a scaling of the query and a two-valued bias.

    A related key gets `(1−a)·s + a·max`, an unrelated one `(1−a)·s + a·min`. The softmax of a row does not
    change when `a·max` is taken from all of it, which leaves `(1−a)·s` and `(1−a)·s − a·(max − min)`: only
    the *range* of the row has to be known beforehand, and the bias depends on a key through its class
    alone.
    """
    strength = term.strength.to(query.device, torch.float32)
    spread = strength * _row_range(query, key)
    unrelated = (term.relation < 0).to(query.device, torch.float32)[term.query_classes]
    bias = -spread.unsqueeze(-1) * unrelated
    classes = one_hot(term.key_classes.to(query.device), term.relation.shape[1])
    scaled = query * (1 - strength).unsqueeze(-1).to(query.dtype)
    return _lengthen(scaled, key, bias, classes)


def _lengthen(
    query: torch.Tensor, key: torch.Tensor, query_factor: torch.Tensor, key_factor: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    query_factor = query_factor.to(query.device, torch.float32).expand(*query.shape[:3], -1)
    key_factor = key_factor.to(key.device, key.dtype).expand(*key.shape[:3], -1)
    coarse = query_factor.to(query.dtype)
    if query.dtype == torch.float32:
        return torch.cat([query, coarse], -1), torch.cat([key, key_factor], -1)
    # Half precision would round the bias; what rounding loses travels in a second set of entries.
    fine = (query_factor - coarse.float()).to(query.dtype)
    return torch.cat([query, coarse, fine], -1), torch.cat([key, key_factor, key_factor], -1)


def _row_range(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """`max_row(s) − min_row(s)` of `s = q·kᵀ`: (B, H, N) float32, block by block."""
    batch, heads, rows, depth = query.shape
    queries = query.reshape(batch * heads, rows, depth)
    # The product wants keys as columns; a strided view of them costs several times the copy.
    columns = key.reshape(batch * heads, -1, depth).transpose(1, 2).contiguous()
    row_step, key_step = _block_sizes(query, columns.shape[-1])
    spread = torch.empty(queries.shape[:2], dtype=torch.float32, device=query.device)
    for row in range(0, rows, row_step):
        block = queries[:, row : row + row_step]
        largest = torch.full(block.shape[:2], -torch.inf, dtype=torch.float32, device=query.device)
        smallest = torch.full_like(largest, torch.inf)
        for column in range(0, columns.shape[-1], key_step):
            logits = torch.bmm(block, columns[..., column : column + key_step])
            largest = torch.maximum(largest, logits.amax(-1).float())
            smallest = torch.minimum(smallest, logits.amin(-1).float())
        spread[:, row : row + row_step] = largest - smallest
    return spread.view(batch, heads, rows)


def _block_sizes(query: torch.Tensor, keys: int) -> tuple[int, int]:
    planes = query.shape[0] * query.shape[1]
    budget = _CACHE_BLOCK_BYTES if query.device.type == "cpu" else _GPU_BLOCK_BYTES
    cells = budget // (planes * query.element_size())
    key_step = min(keys, 1024 if query.device.type == "cpu" else 8192)
    return max(16, cells // key_step), key_step


def _blocked(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, terms: Sequence[Term]
) -> torch.Tensor:
    """Any terms in any order, on explicit logits of one block of query rows at a time."""
    batch, heads, rows, _ = query.shape
    budget = _GPU_BLOCK_BYTES // 4
    step = max(1, budget // (batch * heads * key.shape[-2] * 4))
    columns = key.transpose(-1, -2).contiguous()
    output = torch.empty(*query.shape[:3], value.shape[-1], dtype=value.dtype, device=value.device)
    for start in range(0, rows, step):
        block = slice(start, min(start + step, rows))
        logits = (query[..., block, :] @ columns).float()
        for term in terms:
            if isinstance(term, LowRankBias | RowExtremes):
                logits = _modulate(logits, term, block)
        maps = logits.softmax(-1)
        for term in terms:
            if isinstance(term, AttentionMaps):
                maps = term.edit(maps, block)
        output[..., block, :] = maps.to(value.dtype) @ value
    return output


def _modulate(logits: torch.Tensor, term: LowRankBias | RowExtremes, block: slice) -> torch.Tensor:
    """The logits (B, H, rows, K) of one block of rows after a term."""
    if isinstance(term, LowRankBias):
        rows = term.query[..., block, :].to(logits)
        return logits + rows @ term.key.to(logits).transpose(-1, -2)
    relation = term.relation.to(logits.device)[term.query_classes[block]][:, term.key_classes]
    strength = term.strength.to(logits)[..., block].unsqueeze(-1)
    towards = torch.where(relation > 0, logits.amax(-1, keepdim=True), logits.amin(-1, keepdim=True))
    return torch.where(relation == 0, logits, torch.lerp(logits, towards, strength.expand_as(logits)))
