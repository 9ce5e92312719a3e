"""The README.md that pocket-wan-i2v carries."""

from __future__ import annotations

from mattebox_backend.pocket.wan.config import PocketWanConfig
from mattebox_backend.pocket.wan.measure import WanFigures

_TEXT = """---
license: apache-2.0
library_name: diffusers
---
# pocket-wan-i2v

A small image-to-video model of Wan 2.1's make, for Mattebox's synthetic world: a first frame and a caption
in, {frames} frames of {size} x {size} pixels out. It is what `mask-lora` runs on without a download, and the
test bed on which that method is measured.

| component | class |
|---|---|
| tokenizer | T5Tokenizer with the world's own words (others fall apart into letters) |
| text_encoder | UMT5EncoderModel, {text_width} wide, {text_layers} layers |
| image_encoder | CLIPVisionModel, the picture half of {scorer} |
| vae | AutoencoderKLWan, 4 x 8 x 8 pixels to one latent of 16 channels |
| transformer | WanTransformer3DModel, 36 input channels, {width} wide, {layers} layers |
| scheduler | flow matching, shift {shift:g} |

Made by `mattebox-train pocket-wan-i2v` at commit `{commit}` with seed {seed}: {vae_steps} steps for the
autoencoder, and {steps} at batch {batch} for transformer and text encoder on {clips} rendered clips, told
their first frame ({first:.0%}), their beginning, both ends, or some of their frames.{begun} It has never been
told a part of a frame: that is for an adapter to learn. The whole configuration is in `training.toml`.

{measured}
"""

_MEASURED = """Measured on {clips} unseen scenes ({steps} steps, guidance {guidance:g}), told the first frame:

| figure | value |
|---|---|
| autoencoder, PSNR on unseen clips | {vae_psnr:.2f} dB |
| generated first frame to the given one, PSNR | {first_psnr:.2f} dB |
| objects of the first frame with their colour, in later frames | {colour:.1%} |
| with their shape | {shape:.1%} |
| with both | {both:.1%} |
| with both, in the last frame judged | {last_both:.1%} |
| mean difference of neighbouring frames, of 255 (true clips: {true_change:.2f}) | {change:.2f} |
"""


_BEGUN = """
Training began at the weights (`--begin`) of another such model, which had {steps} steps behind it."""


def wan_card(
    config: PocketWanConfig, commit: str, figures: WanFigures | None, begun: PocketWanConfig | None = None
) -> str:
    """Markdown for ``README.md`` of the exported folder, which says so when there are no ``figures`` yet.

    ``begun``: the configuration of the model at whose weights the training began.
    """
    measured = "Not measured: this is a state in the middle of training."
    if figures is not None:
        measured = _MEASURED.format(**figures.as_dict())
    shares = config.conditions
    return _TEXT.format(
        frames=config.frames,
        size=config.size,
        text_width=config.text.width,
        text_layers=config.text.layers,
        scorer=config.scorer,
        width=config.transformer.heads * config.transformer.head_width,
        layers=config.transformer.layers,
        shift=config.training.shift,
        commit=commit,
        seed=config.seed,
        vae_steps=config.vae.steps + config.vae.long_steps,
        steps=config.training.steps,
        batch=config.training.batch,
        clips=config.clips,
        first=shares.first / (shares.first + shares.beginning + shares.ends + shares.some),
        begun="" if begun is None else _BEGUN.format(steps=begun.training.steps),
        measured=measured,
    )
