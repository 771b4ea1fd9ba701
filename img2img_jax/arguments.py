"""Numbers that callers give, checked by their names before arithmetic meets them."""

from __future__ import annotations

from typing import Any


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
