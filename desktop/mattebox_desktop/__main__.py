"""`python -m mattebox_desktop [FILE]` opens the desktop."""

from __future__ import annotations

import sys
from pathlib import Path

from mattebox_desktop.app import run

if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
