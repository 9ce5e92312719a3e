from __future__ import annotations

import numpy as np
import pytest
from mattebox_backend.lora.told import Told, known_pixels

EDITED = np.zeros((3, 4, 4), np.bool_)
EDITED[:, 1:3, 1:3] = True


@pytest.mark.parametrize(
    ("told", "first", "inside", "outside"),
    [
        (Told.REGION, True, False, True),
        (Told.FIRST, True, False, False),
        (Told.NOTHING, False, False, False),
        (Told.EVERYTHING, True, True, True),
        (Told.BACKGROUND, False, False, True),
    ],
)
def test_the_masks_of_figure_2(told: Told, first: bool, inside: bool, outside: bool) -> None:
    """first: whether the region is known in the first frame; inside, outside: of the later frames."""
    known = known_pixels(told, EDITED)
    assert (known[0][EDITED[0]] == first).all()
    assert (known[1:][EDITED[1:]] == inside).all()
    assert (known[1:][~EDITED[1:]] == outside).all()
    assert known[0, 0, 0] == (told is not Told.NOTHING)


def test_an_empty_region_leaves_everything_known() -> None:
    assert known_pixels(Told.REGION, np.zeros((3, 4, 4), np.bool_)).all()


def test_the_mask_that_is_given_stays_as_it_is() -> None:
    before = EDITED.copy()
    for told in Told:
        known_pixels(told, EDITED)[:] = True
    assert (before == EDITED).all()
