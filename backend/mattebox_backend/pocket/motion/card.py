"""The README.md that pocket-motion carries."""

from __future__ import annotations

from mattebox_backend.pocket.motion.config import PocketMotionConfig
from mattebox_backend.pocket.motion.measure import LEVELS, MotionFigures

_TEXT = """---
license: apache-2.0
library_name: diffusers
---
# pocket-motion

Motion modules (a MotionAdapter, as AnimateDiff has them) for {base}: with them it is a text-to-video model of
Mattebox's synthetic world, over up to {frames} frames at once. Only the modules are here; `mattebox.json`
names the model that they belong to, which gives everything else.

Made by `mattebox-train pocket-motion` at commit `{commit}` with seed {seed}: {steps} steps at {batch} clips
on {clips} rendered clips of {frames} frames, {base} frozen. The whole configuration is in `training.toml`.

{measured}
"""

_MEASURED = """Measured on {clips} unseen clips and their captions ({objects} objects; {steps} steps, guidance
{guidance}), beside {base} alone, frame by frame from the same noise:

| figure | with motion | {base} alone | true clips |
|---|---|---|---|
{errors}
| mean difference of neighbouring frames, of 255 | {change:.2f} | {base_change:.2f} | {true_change:.2f} |
| right colour | {colour:.1%} | {base_colour:.1%} | |
| right shape | {shape:.1%} | {base_shape:.1%} | |
| both right | {both:.1%} | {base_both:.1%} | |
"""


def motion_card(config: PocketMotionConfig, commit: str, figures: MotionFigures | None) -> str:
    """Markdown for ``README.md`` of the exported folder, which says so when there are no ``figures`` yet."""
    measured = "Not measured: this is a state in the middle of training."
    if figures is not None:
        measured = _measured(figures, config.base)
    return _TEXT.format(
        base=config.base,
        frames=config.adapter.frames,
        commit=commit,
        seed=config.seed,
        steps=config.training.steps,
        batch=config.training.batch,
        clips=config.clips,
        measured=measured,
    )


def _measured(figures: MotionFigures, base: str) -> str:
    errors = "\n".join(
        f"| error of the noise at level {level} | {figures.noise_error[level]:.4f} | "
        f"{figures.base_noise_error[level]:.4f} | |"
        for level in LEVELS
    )
    return _MEASURED.format(**figures.as_dict() | {"base": base, "errors": errors})
