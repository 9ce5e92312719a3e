"""The README.md that a pocket model carries."""

from __future__ import annotations

from mattebox_backend.pocket.config import PocketSdConfig
from mattebox_backend.pocket.measure import ModelFigures

_TEXT = """---
license: apache-2.0
library_name: diffusers
---
# pocket-sd

A small Stable-Diffusion-class model of Mattebox's synthetic world: moving shapes on plain backgrounds. It is
the backbone that ships, so that a first edit needs no download, and the test bed on which every method is
measured. It knows six shapes, eight colours, two kinds of parts and four backgrounds, and nothing else.

| component | class |
|---|---|
| tokenizer | CLIPTokenizer with the world's own words (others fall apart into letters), {length} tokens |
| text_encoder | CLIPTextModel, {width} wide, {layers} layers |
| vae | AutoencoderKL, 8 x 8 pixels to one latent of 4 channels |
| unet | UNet2DConditionModel, channels {channels}, attention at every level |
| scheduler | DDIMScheduler, noise prediction, scaled linear |

Made by `mattebox-train pocket-sd` at commit `{commit}` with seed {seed}: {vae_steps} steps for the VAE
and {steps} at batch {batch} for the denoiser and the text encoder on {frames} rendered frames. The whole
configuration is in `training.toml`.

{measured}
"""

_MEASURED = """Measured on {captions} captions of unseen scenes ({objects} objects; {sampling_steps} steps,
guidance {guidance}) by the recogniser of `mattebox_backend.world`:

| figure | value |
|---|---|
| right colour | {colour:.1%} |
| right shape | {shape:.1%} |
| both right | {both:.1%} |
| right number of objects | {count:.1%} |
| autoencoder, PSNR on unseen frames | {vae_psnr:.2f} dB |
"""


def model_card(config: PocketSdConfig, commit: str, figures: ModelFigures | None) -> str:
    """Markdown for ``README.md`` of the exported folder, which says so when there are no ``figures`` yet."""
    measured = "Not measured: this is a state in the middle of training."
    if figures is not None:
        measured = _MEASURED.format(
            captions=figures.captions,
            objects=figures.objects,
            sampling_steps=figures.steps,
            guidance=figures.guidance,
            colour=figures.colour,
            shape=figures.shape,
            both=figures.both,
            count=figures.count,
            vae_psnr=figures.vae_psnr,
        )
    return _TEXT.format(
        length=config.text.length,
        width=config.text.width,
        layers=config.text.layers,
        channels=" and ".join(map(str, config.denoiser.channels)),
        commit=commit,
        seed=config.seed,
        vae_steps=config.vae.steps,
        steps=config.denoiser.steps,
        batch=config.denoiser.batch,
        frames=config.denoiser.train_frames,
        measured=measured,
    )
