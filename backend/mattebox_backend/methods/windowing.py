"""Windows of frames out of a method's parameters."""

from __future__ import annotations

from mattebox_backend.diffusion.denoiser import Windows
from mattebox_backend.errors import InvalidEdit


def windows(frames: int, stride: int) -> Windows | None:
    """Windows of `frames` frames, `stride` apart (0: half a window); none where `frames` is 0."""
    if frames == 0:
        return None
    if stride > frames:
        raise InvalidEdit(
            f"Windows of {frames} frames that are {stride} frames apart leave gaps; give a window_stride of "
            f"at most {frames}, or 0 for half a window."
        )
    return Windows(frames, stride or max(1, frames // 2))
