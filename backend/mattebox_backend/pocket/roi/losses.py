"""The losses of region-of-interest-aware diffusion (section 5, table 6)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from mattebox_backend.pocket.denoiser import min_snr_weight
from mattebox_backend.pocket.roi.config import LossConfig


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What a prediction is held against. All (B, F, C, h, w) but mask (B, F, 1, h, w) in [0, 1] and kept
    (B,), the share ᾱ of the signal's variance that is left in `noisy`.
    """

    noisy: Tensor
    noise: Tensor
    edited: Tensor
    source: Tensor
    mask: Tensor
    kept: Tensor


def losses(predicted: Tensor, features: Tensor, target: Target, config: LossConfig) -> dict[str, Tensor]:
    """Every term of eq. 5.7 with its weight, as scalars; their sum is what is trained on (the decay of
    weights is the optimizer's).

    predicted: (B, F, C, h, w) noise. features: (B, F, c, h', w') of a layer. Noise errors have min-SNR
    weights per picture, as pocket-sd's have.
    """
    kept = target.kept.view(-1, 1, 1, 1, 1)
    return {
        "denoise": denoising_loss(predicted, target, config),
        "edit": config.edit * clean_loss(predicted, target, target.edited, target.mask, kept),
        "preserve": config.preserve * clean_loss(predicted, target, target.source, 1 - target.mask, kept),
        "temporal": config.temporal * temporal_loss(features, target.mask),
    }


def denoising_loss(predicted: Tensor, target: Target, config: LossConfig) -> Tensor:
    """`λ_roi·‖M ⊙ e‖² + λ_bg·‖(1 − M) ⊙ e‖²` of the error e of the noise (eqs. 5.2–5.4), a mean over places;
    normalised, a mean with weights of sum one per picture (eq. 5.10).
    """
    square = (predicted - target.noise).square().mean(2, keepdim=True)
    weight = config.region * target.mask.square() + config.background * (1 - target.mask).square()
    if config.normalised:
        weight = weight / weight.mean((2, 3, 4), keepdim=True).clamp(min=1e-6)
    return (min_snr_weight(target.kept.view(-1, 1, 1, 1, 1)) * weight * square).mean()


def clean_loss(predicted: Tensor, target: Target, truth: Tensor, where: Tensor, kept: Tensor) -> Tensor:
    """`‖where ⊙ (x̃_0 − truth)‖₁`, a mean over values (eqs. 5.5, 5.6).

    x̃_0 is what the one prediction implies, not the end of a whole reverse run, which no step of training
    could wait for; so the error counts with √ᾱ, as the noisiest levels say next to nothing of x_0 at once.
    """
    clean = (target.noisy - (1 - kept).sqrt() * predicted) / kept.sqrt()
    return (kept.sqrt() * where * (clean - truth).abs()).mean()


def temporal_loss(features: Tensor, mask: Tensor) -> Tensor:
    """`Σ_k ‖φ_{k+1} − φ_k‖²`, a mean over values, weighted by the mask of both frames (eq. 5.8); 0 for one
    frame.
    """
    if features.shape[1] < 2:
        return features.new_zeros(())
    height, width = features.shape[-2:]
    weight = adaptive_avg_pool2d(mask[:, :, 0], (height, width)).unsqueeze(2)
    change = features[:, 1:] - features[:, :-1]
    return (weight[:, 1:] * weight[:, :-1] * change.square()).mean()
