"""``python -m mattebox_backend``."""

from __future__ import annotations

from mattebox_backend.cli import main

main()
