"""The README.md that pocket-score carries."""

from __future__ import annotations

from mattebox_backend.pocket.score.config import PocketScoreConfig
from mattebox_backend.pocket.score.measure import CHOICES, ScoreFigures

_TEXT = """---
license: apache-2.0
library_name: transformers
---
# pocket-score

A small CLIP of Mattebox's synthetic world: it says how well words fit a picture, and stands in for CLIP
wherever a benchmark needs CLIP's judgement. `CLIPModel` and `CLIPProcessor` load this folder. It knows six
shapes, eight colours, two kinds of parts and four backgrounds, and nothing else: its cosines compare with its
own only, never with those of another CLIP.

| component | |
|---|---|
| vision tower | {size}² pixels in patches of {patch}², {vision_width} wide, {vision_layers} layers |
| text tower | {text_width} wide, {text_layers} layers, {length} tokens; the tokenizer of pocket-sd |
| embedding | {embedding} wide |

Beside it lies a classifier (`attributes.safetensors`, `attributes.json`): two linear layers on the vision
tower's pooled state that name the shape and the colour of the one object in a picture.

Made by `mattebox-train pocket-score` at commit `{commit}` with seed {seed}: {steps} steps at batch {batch} on
whole frames, objects and bare backgrounds of {scenes} rendered scenes. Every picture comes with a right
caption and {wrong} wrong ones of its own, which differ from it by an attribute or two. The whole
configuration is in `training.toml`.

{measured}
"""

_MEASURED = """Measured on {frames} whole frames and {crops} single objects of unseen scenes. The right
caption is to be found among {choices}: the others are wrong by a colour, a shape, a part, the background, or
by who has what.

| figure | whole frames | single objects |
|---|---|---|
| right caption fits best (by chance {chance:.1%}) | {frame_retrieval:.1%} | {crop_retrieval:.1%} |
| cosine of the right caption less that of the wrong ones | {frame_margin:.3f} | {crop_margin:.3f} |
| classifier: right shape | | {shape:.1%} |
| classifier: right colour | | {colour:.1%} |
| classifier: both right | | {both:.1%} |
"""


def score_card(config: PocketScoreConfig, commit: str, figures: ScoreFigures | None) -> str:
    """Markdown for ``README.md`` of the exported folder, which says so when there are no ``figures`` yet."""
    measured = "Not measured: this is a state in the middle of training."
    if figures is not None:
        measured = _MEASURED.format(**figures.as_dict(), choices=CHOICES, chance=1 / CHOICES)
    return _TEXT.format(
        size=config.vision.size,
        patch=config.vision.patch,
        vision_width=config.vision.width,
        vision_layers=config.vision.layers,
        text_width=config.text.width,
        text_layers=config.text.layers,
        length=config.text.length,
        embedding=config.embedding,
        commit=commit,
        seed=config.seed,
        steps=config.training.steps,
        batch=config.training.batch,
        scenes=config.set.scenes,
        wrong=config.training.wrong,
        measured=measured,
    )
