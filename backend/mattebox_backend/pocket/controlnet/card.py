"""The README.md that the pocket ControlNet carries."""

from __future__ import annotations

from mattebox_backend.pocket.controlnet.config import ControlNetConfig
from mattebox_backend.pocket.controlnet.measure import ControlNetFigures

_TEXT = """---
license: apache-2.0
library_name: diffusers
---
# pocket-controlnet

A ControlNetModel on Mattebox's pocket-sd. It reads the edges of a frame of the synthetic world, white on
black, as Canny finds them (thresholds 100 and 200), and makes pocket-sd draw along them.

Made by `mattebox-train pocket-controlnet` at commit `{commit}` with seed {seed}: {steps} steps at batch
{batch} on {frames} rendered frames, {empty:.0%} of them without their caption; the base was frozen. The whole
configuration is in `training.toml`.

{measured}
"""

_MEASURED = """Measured on {scenes} unseen scenes, sampled from their captions and edges ({sampling_steps}
steps, guidance {guidance}), from the same noise with the ControlNet and without:

| figure | with | without |
|---|---|---|
| error of the predicted noise (min-SNR weights) | {noise:.4f} | {noise_without:.4f} |
| edge pixels found within 2 pixels | {edges:.1%} | {edges_without:.1%} |
| right colour | {colour:.1%} | {colour_without:.1%} |
| right shape | {shape:.1%} | {shape_without:.1%} |
| both right | {both:.1%} | {both_without:.1%} |
"""


def controlnet_card(config: ControlNetConfig, commit: str, figures: ControlNetFigures | None) -> str:
    """Markdown for ``README.md`` of the exported folder, which says so when there are no ``figures`` yet."""
    measured = "Not measured: this is a state in the middle of training."
    if figures is not None:
        given, without = figures.with_condition, figures.without_condition
        measured = _MEASURED.format(
            scenes=figures.scenes,
            sampling_steps=figures.steps,
            guidance=figures.guidance,
            noise=figures.noise_error,
            noise_without=figures.noise_error_without,
            edges=given.edges_found,
            edges_without=without.edges_found,
            colour=given.colour,
            colour_without=without.colour,
            shape=given.shape,
            shape_without=without.shape,
            both=given.both,
            both_without=without.both,
        )
    return _TEXT.format(
        commit=commit,
        seed=config.seed,
        steps=config.steps,
        batch=config.batch,
        frames=config.train_frames,
        empty=config.empty_prompt_share,
        measured=measured,
    )
