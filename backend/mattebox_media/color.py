"""Colour tags: what the numbers of a clip mean, and what is assumed where it does not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# The code points of ITU-T H.273, under FFmpeg's names.
_PRIMARIES: Final = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020",
    10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip
_TRANSFERS: Final = {
    1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100", 10:
    "log316",
    11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084",
    17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
_MATRICES: Final = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 14: "ictcp",
}  # fmt: skip
_RANGES: Final = {1: "limited", 2: "full"}
_UNSPECIFIED: Final = 2
UNSPECIFIED: Final = "unspecified"


@dataclass(frozen=True, slots=True)
class ColorTags:
    """The four colour tags of a stream, by FFmpeg's names; "unspecified" where the file does not say.

    ``matrix`` is "gbr" for RGB pictures; ``range`` is "limited", "full" or "unspecified".
    """

    primaries: str = UNSPECIFIED
    transfer: str = UNSPECIFIED
    matrix: str = UNSPECIFIED
    range: str = UNSPECIFIED

    def __post_init__(self) -> None:
        for field, value, known in (
            ("primaries", self.primaries, _PRIMARIES),
            ("transfer", self.transfer, _TRANSFERS),
            ("matrix", self.matrix, _MATRICES),
            ("range", self.range, _RANGES),
        ):
            if value != UNSPECIFIED and value not in known.values():
                raise ValueError(
                    f"Unknown colour {field} {value!r}; "
                    f"use one of {', '.join(known.values())} or {UNSPECIFIED}."
                )

    @classmethod
    def from_codes(cls, primaries: int, transfer: int, matrix: int, range_: int) -> ColorTags:
        """Tags from FFmpeg's numbers; numbers that H.273 reserves count as unspecified."""
        return cls(
            _PRIMARIES.get(primaries, UNSPECIFIED),
            _TRANSFERS.get(transfer, UNSPECIFIED),
            _MATRICES.get(matrix, UNSPECIFIED),
            _RANGES.get(range_, UNSPECIFIED),
        )

    def for_yuv(self, width: int, height: int) -> ColorTags:
        """The tags with matrix and range settled for Y'CbCr pictures of this size (pixels).

        An untagged matrix is BT.709 from 720 lines or 1280 columns on and BT.601 below, as players assume;
        an untagged range is limited. Primaries and transfer stay as they are: nothing here converts them.
        """
        matrix = self.matrix
        if matrix in (UNSPECIFIED, "gbr"):
            matrix = "bt709" if width >= 1280 or height >= 720 else "smpte170m"
        # RGB is always full range, which says nothing about the Y'CbCr that is made of it.
        untagged_range = self.range == UNSPECIFIED or self.matrix == "gbr"
        return ColorTags(self.primaries, self.transfer, matrix, "limited" if untagged_range else self.range)

    def for_rgb(self) -> ColorTags:
        """The tags with matrix and range as RGB pictures have them."""
        return ColorTags(self.primaries, self.transfer, "gbr", "full")

    @property
    def primaries_code(self) -> int:
        return _code(_PRIMARIES, self.primaries, _UNSPECIFIED)

    @property
    def transfer_code(self) -> int:
        return _code(_TRANSFERS, self.transfer, _UNSPECIFIED)

    @property
    def matrix_code(self) -> int:
        return _code(_MATRICES, self.matrix, _UNSPECIFIED)

    @property
    def range_code(self) -> int:
        return _code(_RANGES, self.range, 0)


BT709: Final = ColorTags("bt709", "bt709", "bt709", "limited")


def _code(names: dict[int, str], name: str, otherwise: int) -> int:
    return next((code for code, known in names.items() if known == name), otherwise)
