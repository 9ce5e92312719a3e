"""Attention as a place where controls meet a backbone: sites, terms, and the kernels that compute them.

No paper's idea lives here; see `mattebox_backend.controls`.
"""

from mattebox_backend.attention.kernels import attend
from mattebox_backend.attention.sites import (
    AttentionCall,
    AttentionListener,
    AttentionSite,
    CallLayout,
    Reach,
    SiteKind,
)
from mattebox_backend.attention.switchboard import Switchboard
from mattebox_backend.attention.terms import AttentionMaps, LowRankBias, Projections, RowExtremes, Term

__all__ = [
    "AttentionCall",
    "AttentionListener",
    "AttentionMaps",
    "AttentionSite",
    "CallLayout",
    "LowRankBias",
    "Projections",
    "Reach",
    "RowExtremes",
    "SiteKind",
    "Switchboard",
    "Term",
    "attend",
]
