"""Small pictures of references, each made once."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from PySide6.QtGui import QImage

from mattebox_desktop.model.reference import Picture
from mattebox_desktop.service.frames import shrunk
from mattebox_desktop.ui.pictures import picture

_ROWS = 96
_made: WeakKeyDictionary[Picture, QImage] = WeakKeyDictionary()


def thumbnail(shown: Picture) -> QImage:
    """About 96 rows of the picture, for a list and for the timeline."""
    image = _made.get(shown)
    if image is None:
        image = _made[shown] = picture(shrunk(shown.pixels, _ROWS))
    return image
