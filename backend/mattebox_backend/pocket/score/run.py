"""The whole making of ``pocket-score``: the set, the training, the measuring, the folder that ships."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from mattebox_backend.pocket.checkpoint import write_atomically
from mattebox_backend.pocket.run import commit_of_code
from mattebox_backend.pocket.score.card import score_card
from mattebox_backend.pocket.score.config import PocketScoreConfig
from mattebox_backend.pocket.score.dataset import score_set
from mattebox_backend.pocket.score.export import export_score, load_score
from mattebox_backend.pocket.score.measure import ScoreFigures, measure_score
from mattebox_backend.pocket.score.training import train_score
from mattebox_backend.pocket.tokenizer import build_tokenizer


def train_pocket_score(
    config: PocketScoreConfig, config_text: str, work: Path, export: Path, scenes: int
) -> ScoreFigures:
    """Train in ``work``, measure on ``scenes`` unseen scenes, and write the model folder ``export``.

    ``config_text`` is the TOML that ``config`` was read from; it travels with the weights.
    """
    tokenizer = build_tokenizer(config.text.length)
    data = score_set(config, tokenizer, work)
    commit, notes = commit_of_code(), {"training.toml": config_text}
    model = train_score(config, data, tokenizer, work)
    export_score(export, model, notes | {"README.md": score_card(config, commit, None)})
    Console().print(f"Measuring on {scenes} unseen scenes.", highlight=False)
    figures = measure_score(load_score(export), scenes)  # what ships is in half precision
    figures_json = json.dumps({"commit": commit, **figures.as_dict()}, indent=1) + "\n"
    write_atomically(work / "figures.json", figures_json.encode())
    card = {"README.md": score_card(config, commit, figures), "figures.json": figures_json}
    export_score(export, model, notes | card)
    return figures
