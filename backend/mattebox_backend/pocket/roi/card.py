"""The README.md that `pocket-roi` carries."""

from __future__ import annotations

from mattebox_backend.pocket.roi.config import PocketRoiConfig
from mattebox_backend.pocket.roi.measure import RoiFigures

_TEXT = """---
license: apache-2.0
library_name: diffusers
---
# pocket-roi

A denoiser of Mattebox's synthetic world that is told where to edit: the mask, and the latents of the source
around it, are inputs beside the noisy latents. It grew from `{base}`, which has to lie beside this folder and
lends its autoencoder, text encoder and schedule. Its place is the method `roi-aware`.

Mechanisms (region-of-interest-aware diffusion, table 3): {mechanisms}.

Made by `mattebox-train pocket-roi` with seed {seed}: {steps} steps at {batch} pairs of two frames, out of
{scenes} pairs of a scene and its edit. The whole configuration is in `training.toml`.

{measured}
"""

_MEASURED = """Measured on {pairs} edits of unseen scenes ({objects} objects; {steps} steps from noise,
guidance {guidance}; masks tight, dilated and boxes in turn):

| figure | value |
|---|---|
| right colour | {colour:.1%} |
| right shape | {shape:.1%} |
| both right | {both:.1%} |
| PSNR to the true edit, inside | {region_psnr:.2f} dB |
| PSNR to the source, outside, before the composite | {background_psnr:.2f} dB |
| E_bound against the true edit | {boundary:.5f} |
"""


def roi_card(config: PocketRoiConfig, base: str, figures: RoiFigures | None) -> str:
    """Markdown for `README.md`, which says so when there are no `figures` yet."""
    measured = "Not measured: this is a state in the middle of training."
    if figures is not None:
        measured = _MEASURED.format(**figures.as_dict())
    design = config.design.model_dump()
    return _TEXT.format(
        base=base,
        mechanisms=", ".join(name.replace("_", " ") for name, on in design.items() if on) or "none",
        seed=config.seed,
        steps=config.training.steps,
        batch=config.training.batch,
        scenes=config.data.scenes,
        measured=measured,
    )
