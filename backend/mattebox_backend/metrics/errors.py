"""What can be wrong with the input of a measure."""

from __future__ import annotations


class MetricInputError(ValueError):
    """Clips or masks that cannot be compared; the message names the sizes."""
