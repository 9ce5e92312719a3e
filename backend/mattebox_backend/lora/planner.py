"""Which settings an adapter's training, or a sampling, fits a card with, and what it then takes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mattebox_backend.backbones.block_swap import check_blocks_to_swap, spread
from mattebox_backend.backbones.video_protocol import TOKENS_TOGETHER, VideoBackbone, padded_length
from mattebox_backend.device import free_memory_mb
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.lora.footprint import Footprint
from mattebox_backend.lora.samples import training_windows
from mattebox_backend.lora.spans import generation_windows

PAPER_WINDOW = 9
"""Frames (mask-aware LoRA, appendix C.1)."""
USABLE = 0.92
"""Of the memory: allocators leave gaps."""
_OPTIMISER_BYTES, _ADAPTER_BYTES = 12, 8
"""Per parameter of the adapter, all float32: two moments of AdamW and the gradient; itself and the copy of it
that was good last.
"""
_OPERATIONS_PER_BYTE = 4000.0
"""What a card computes while it brings a byte from the machine's memory: about 80 TFLOP/s at 20 GB/s."""
_UNHIDDEN = 0.05
"""The share of that which arithmetic does not hide."""


@dataclass(frozen=True, slots=True)
class ClipSize:
    """A clip at working size. frames: as given; stride: frames per latent frame. width, height: pixels."""

    frames: int
    width: int
    height: int
    latent_width: int
    latent_height: int
    stride: int

    def tokens(self, network: Footprint, frames: int) -> int:
        """Of so many of its frames, padded to what the model takes."""
        latent_frames = (padded_length(frames, self.stride) - 1) // self.stride + 1
        return network.tokens(latent_frames, self.latent_height, self.latent_width)


@dataclass(frozen=True, slots=True)
class Settings:
    """window_frames: that are learnt from together; 0: the whole clip. checkpointing: activations are
    computed again for the backward pass. blocks_to_swap: that rest off the device.
    """

    window_frames: int
    checkpointing: bool
    blocks_to_swap: int


@dataclass(frozen=True, slots=True)
class Expectation:
    """Bytes on the device at the peak."""

    weights: float
    activations: float
    adapter: float
    optimiser: float

    @property
    def total(self) -> float:
        """Of all."""
        return self.weights + self.activations + self.adapter + self.optimiser


@dataclass(frozen=True, slots=True)
class Choices:
    """What may be picked from; one thing alone is what the user wants. blocks_to_swap: None: any number."""

    windows: Sequence[int] = (0, PAPER_WINDOW)
    checkpointing: Sequence[bool] = (False, True)
    blocks_to_swap: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What was picked. memory: bytes that there are. sentence: for a job's log."""

    settings: Settings
    expected: Expectation
    memory: float
    sentence: str


def plan_training(
    network: Footprint,
    clip: ClipSize,
    memory: float,
    choices: Choices = Choices(),
    *,
    autoencoder: float = 0.0,
    ahead: bool = True,
) -> Plan:
    """The settings for which training fits into `memory` (bytes: what is free, and what the network takes
    now), and which take least time for a pass over the whole clip: windows overlap.

    autoencoder: bytes that encoding takes, before the network comes. ahead: the next block comes while one
    runs, as on CUDA, so that two are there.

    Raises `InvalidEdit` where nothing fits, with what is needed at least.
    """
    fitting = _Fitting(f"Training an adapter of {network.name}", network, clip, memory, autoencoder)
    for window in dict.fromkeys(_shorter(clip, size) for size in choices.windows):
        count = len(training_windows(_padded(clip), window))
        for again in choices.checkpointing:
            for blocks in _counts(network, choices):
                settings = Settings(window, again, blocks)
                expected = expect_training(network, clip, settings, ahead=ahead)
                passes = 3 if again else 2
                fitting.offer(settings, expected, count * _time(network, clip, settings, passes))
    return fitting.best()


def plan_sampling(
    network: Footprint,
    clip: ClipSize,
    memory: float,
    choices: Choices = Choices(windows=(0,)),
    *,
    overlap: int = 5,
    branches: int = 2,
    autoencoder: float = 0.0,
    ahead: bool = True,
) -> Plan:
    """The same for sampling: `choices.windows` are frames that are generated together, `overlap` of which a
    window shares with the one before; branches: predictions a step. autoencoder: bytes that decoding takes,
    between steps, for previews.
    """
    fitting = _Fitting(f"Sampling with {network.name}", network, clip, memory)
    for window in dict.fromkeys(_shorter(clip, size) for size in choices.windows):
        spans = generation_windows(
            _padded(clip), window or _padded(clip), padded_length(overlap, clip.stride)
        )
        for blocks in _counts(network, choices):
            settings = Settings(window, False, blocks)
            expected = expect_sampling(
                network, clip, settings, branches=branches, autoencoder=autoencoder, ahead=ahead
            )
            fitting.offer(settings, expected, len(spans) * _time(network, clip, settings, branches))
    return fitting.best()


def expect_training(
    network: Footprint, clip: ClipSize, settings: Settings, *, ahead: bool = True
) -> Expectation:
    """What a training step takes at its peak. With all activations kept that is where the backward pass
    begins; computed again, it is where it computes the last block again.
    """
    tokens = clip.tokens(network, settings.window_frames or clip.frames)
    kept = [block.kept.of(tokens) for block in network.blocks]
    if settings.checkpointing:
        activations = sum(block.entering.of(tokens) for block in network.blocks) + max(kept)
    else:
        activations = sum(kept)
    activations += max(moment.of(tokens) for moment in network.working) + network.casts
    parameters = network.adapter_parameters
    return Expectation(
        _resident(network, settings.blocks_to_swap, ahead=ahead),
        activations,
        _ADAPTER_BYTES * parameters,
        _OPTIMISER_BYTES * parameters,
    )


def expect_sampling(
    network: Footprint,
    clip: ClipSize,
    settings: Settings,
    *,
    branches: int = 2,
    autoencoder: float = 0.0,
    ahead: bool = True,
) -> Expectation:
    """What a step of sampling, or the decoding of a preview between two steps, takes at its peak."""
    tokens = clip.tokens(network, settings.window_frames or clip.frames)
    together = branches if tokens <= TOKENS_TOGETHER else 1
    return Expectation(
        _resident(network, settings.blocks_to_swap, ahead=ahead),
        max(autoencoder, together * max(moment.of(tokens) for moment in network.sampling)),
        4 * network.adapter_parameters,
        0.0,
    )


@dataclass(slots=True)
class _Fitting:
    """Keeps the quickest of the settings that fit, and the smallest of all."""

    what: str
    network: Footprint
    clip: ClipSize
    memory: float
    autoencoder: float = 0.0
    quickest: tuple[float, float, Settings, Expectation] | None = None
    smallest: tuple[Settings, Expectation] | None = None

    def offer(self, settings: Settings, expected: Expectation, time: float) -> None:
        """time: in any unit."""
        if self.smallest is None or expected.total < self.smallest[1].total:
            self.smallest = (settings, expected)
        fits = max(expected.total, self.autoencoder) <= USABLE * self.memory
        better = self.quickest is None or (time, expected.total) < self.quickest[:2]
        if fits and better:
            self.quickest = (time, expected.total, settings, expected)

    def best(self) -> Plan:
        if self.smallest is None:
            raise ValueError("There is nothing to choose from.")
        clip = f"{self.clip.frames} frames of {self.clip.width}×{self.clip.height}"
        if self.quickest is None:
            settings, expected = self.smallest
            needed, how = expected.total, _told(settings, self.network)
            if self.autoencoder > needed:
                needed, how = self.autoencoder, "for its autoencoder"
            raise InvalidEdit(
                f"{self.what} on {clip} takes {_mb(needed / USABLE)} at least ({how}) and there are "
                f"{_mb(self.memory)}; work at a smaller size, on fewer frames, or on a card with more memory."
            )
        _, _, settings, expected = self.quickest
        parts = f"weights {_mb(expected.weights)}, activations {_mb(expected.activations)}, "
        parts += f"adapter {_mb(expected.adapter)}, optimiser {_mb(expected.optimiser)}"
        sentence = (
            f"{self.what} on {clip}: {_told(settings, self.network)}; expected to take "
            f"{_mb(expected.total)} of {_mb(self.memory)} ({parts})"
        )
        if self.autoencoder:
            sentence += f"; its autoencoder, by itself, {_mb(self.autoencoder)}"
        return Plan(settings, expected, self.memory, sentence + ".")


def memory_for(backbone: VideoBackbone) -> float:
    """Bytes of the device that a plan may count with: what is free, and what the network takes there now."""
    device = backbone.device
    here = sum(p.nbytes for p in backbone.network.parameters() if p.device == device.torch)
    return free_memory_mb(device) * (1 << 20) + here


def _told(settings: Settings, network: Footprint) -> str:
    window = f"windows of {settings.window_frames} frames" if settings.window_frames else "the whole clip"
    again = "activations computed again" if settings.checkpointing else "nothing computed twice"
    return f"{window}, {again}, {settings.blocks_to_swap} of {len(network.blocks)} blocks swapped"


def _resident(network: Footprint, blocks_to_swap: int, *, ahead: bool) -> float:
    """Bytes of weights on the device, of which those that come and go are the one or two largest."""
    swapped = [network.blocks[index].weights for index in spread(len(network.blocks), blocks_to_swap)]
    return network.weights - sum(swapped) + sum(sorted(swapped)[-(2 if ahead else 1) :])


def _time(network: Footprint, clip: ClipSize, settings: Settings, passes: int) -> float:
    """Of a step, in operations: arithmetic, or bringing the swapped blocks where that takes longer."""
    tokens = clip.tokens(network, settings.window_frames or clip.frames)
    attention = 4.0 * tokens * tokens * network.width * len(network.blocks)
    computing = passes * (attention + tokens * float(sum(block.weights for block in network.blocks)))
    swapped = sum(network.blocks[at].weights for at in spread(len(network.blocks), settings.blocks_to_swap))
    bringing = 2 * swapped * _OPERATIONS_PER_BYTE
    return max(computing, bringing) + _UNHIDDEN * bringing


def _counts(network: Footprint, choices: Choices) -> Sequence[int]:
    if choices.blocks_to_swap is not None:
        check_blocks_to_swap(choices.blocks_to_swap, len(network.blocks))
        return (choices.blocks_to_swap,)
    return range(len(network.blocks) + 1)


def _padded(clip: ClipSize) -> int:
    return padded_length(clip.frames, clip.stride)


def _shorter(clip: ClipSize, window: int) -> int:
    """A window's frames as the model takes them; 0 where it holds the whole clip."""
    window = padded_length(window, clip.stride) if window else 0
    return 0 if window >= _padded(clip) else window


def _mb(size: float) -> str:
    return f"{size / (1 << 20):,.0f} MB"
