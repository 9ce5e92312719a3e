"""Matplotlib, where it is installed, without a screen."""

from __future__ import annotations

from typing import Any

from mattebox_backend.bench.errors import BenchError


def load_pyplot() -> Any:
    """`matplotlib.pyplot` that draws into files. Raises `BenchError` where matplotlib is not installed."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise BenchError(
            "A plot needs matplotlib, which is not installed; install mattebox[bench] or leave the plot out."
        ) from error
    return plt
