"""SDXL's micro-conditioning: sizes and scores the UNet is told as plain numbers (Podell et al. 2307.01952, sec. 2.2).

A picture is described by its size before it was cropped, the corner of the crop, and its size now. The refiner is told
an aesthetic score in place of the last. With guidance the negative prompt has a description of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

NAMES = {
    False: ("original_size", "crops_coords_top_left", "target_size"),
    True: ("original_size", "crops_coords_top_left", "aesthetic_score"),
}
"""What the numbers are, in order, by whether the UNet was trained on scores."""

_SIGNS = ("negative_", "")
EVERY_NAME = tuple(sign + name for sign in _SIGNS for name in dict.fromkeys(NAMES[False] + NAMES[True]))
_SCORES = {"aesthetic_score": 6.0, "negative_aesthetic_score": 2.5}


def count(scored: bool) -> int:
    """How many numbers describe a picture: 6, or 5 with a score."""
    return sum(1 if name in _SCORES else 2 for name in NAMES[scored])


def columns(given: Mapping[str, Any], scored: bool) -> dict[str, list]:
    """One entry per sample, or a list of one for all, of each description the UNet takes; None where none was given.

    Args:
      given: by name (``EVERY_NAME``): None, a pair (height, width) or (top, left) in pixels or [B] of them, a score or
        [B] of them.
      scored: whether the UNet takes scores.

    Raises:
      ValueError: a value that is no size or score, or one that this UNet does not take.
    """
    taken = [sign + name for sign in _SIGNS for name in NAMES[scored]]
    for name in EVERY_NAME:
        if given.get(name) is not None and name not in taken:
            raise ValueError(
                f"{name}={given[name]!r} is given, but this checkpoint's requires_aesthetics_score is {scored}: it "
                f"takes {', '.join(NAMES[scored])}; leave {name} out"
            )
    return {name: _column(name, given.get(name)) for name in taken}


def time_ids(columns: Mapping[str, list], scored: bool, size: tuple[int, int]) -> Float[np.ndarray, "B 2 n"]:
    """The numbers of each sample: for its negative prompt, and for its prompt.

    What was not given is as in diffusers: pictures of ``size``, uncropped; scores 6 and 2.5; the negative description
    that of the prompt, but for the refiner's crop, which is none.
    """
    defaults = {"original_size": size, "crops_coords_top_left": (0, 0), "target_size": size, **_SCORES}
    if scored:
        defaults["negative_crops_coords_top_left"] = (0, 0)
    rows = []
    for values in zip(*columns.values(), strict=True):
        known = {name: value for name, value in zip(columns, values, strict=True) if value is not None}
        known = defaults | known
        rows.append([[known.get(sign + name, known[name]) for name in NAMES[scored]] for sign in _SIGNS])
    return np.asarray([[np.hstack(description) for description in row] for row in rows], np.float32)


def _column(name: str, value: Any) -> list:
    if value is None:
        return [None]
    try:
        values = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        values = np.asarray(np.nan)
    entry = () if name in _SCORES else (2,)
    fits = values.shape[values.ndim - len(entry) :] == entry and values.ndim - len(entry) in (0, 1)
    if not (fits and np.isfinite(values).all() and (values >= 0).all()):
        kind = "a number" if name in _SCORES else "a pair of pixels, (height, width) or (top, left)"
        raise ValueError(f"{name}={value!r} is not {kind}, 0 or more, or one of these per sample")
    return list(values.reshape(-1, *entry))
