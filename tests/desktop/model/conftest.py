"""A project with a small clip."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from mattebox_desktop.model import commands
from mattebox_desktop.model.project import ClipRef, Project


@pytest.fixture
def project() -> Project:
    """64×48, 20 frames; nothing to undo yet but the clip itself."""
    made = Project()
    commands.set_clip(made, ClipRef(Path("/clips/fox.mp4"), 64, 48, 20, Fraction(25)))
    return made
