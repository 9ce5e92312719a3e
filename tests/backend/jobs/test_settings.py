"""backend.toml."""

from __future__ import annotations

from pathlib import Path

import pytest
from mattebox_backend.errors import InvalidSettings
from mattebox_backend.settings import load_settings
from mattebox_proto.paths import Folders


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    (tmp_path / "config").mkdir()
    return Folders(*(tmp_path / name for name in ("config", "cache", "data", "run", "log")))


def test_sizes_are_read_as_people_write_them(folders: Folders) -> None:
    assert load_settings(folders).cache_limit == 10 << 30
    (folders.config / "backend.toml").write_text(
        'cache_limit = "2.5 GiB"\nqueue_limit = 3\nmodel_folders = ["/m"]\n'
    )
    settings = load_settings(folders)
    assert settings.cache_limit == 5 << 29
    assert (settings.queue_limit, settings.model_folders) == (3, (Path("/m"),))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cache_limit = -1", "cache_limit = -1: "),
        ('queue_limit = "x"', "queue_limit = 'x': "),
        ('device = "tpu"', "device = 'tpu': "),
        ("sofa = 1", "“sofa” is unknown [(]known: cache_limit, "),
        ("cache_limit = ", "no valid TOML"),
        ("cache_limit = 1\ncache_limit = 2", "no valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_value(folders: Folders, text: str, words: str) -> None:
    path = folders.config / "backend.toml"
    path.write_text(text)
    with pytest.raises(InvalidSettings, match=words) as refused:
        load_settings(folders)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
