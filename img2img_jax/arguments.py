"""Numbers that callers give, checked by their names before arithmetic meets them."""

from __future__ import annotations

from typing import Any

import numpy as np


def number(name: str, value: Any) -> float:
    """A number as a float; NaN and infinity are numbers.

    Raises:
      ValueError: ``value`` is none, such as a text or a list.
    """
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}={value!r} is not a number; give one, such as 0.5") from error


def finite(name: str, values: Any) -> np.ndarray:
    """An array as float32.

    Raises:
      ValueError: ``values`` are no numbers, or hold NaN or infinity.
    """
    try:
        array = np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no array of numbers ({error}); give floats") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity; give finite numbers")
    return array
