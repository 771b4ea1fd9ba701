"""Reading what the TPU compiler writes: its estimates, and what goes between devices."""

from __future__ import annotations

import math
import re
from collections import Counter

COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-broadcast",
    "collective-permute",
    "ragged-all-to-all",
    "reduce-scatter",
    "send",
    "recv",
)
# Those that take their time are written as a start and a done, of which the second has the result's shape.
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(COLLECTIVES)})(-done)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+)(?:e\d+m\d+\w*)?\[([\d,]*)\]")


def estimated_cycles(hlo: str) -> int:
    """Cycles that the compiler expects of all operations: bodies of loops once, insides of Pallas kernels never."""
    return sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', hlo)))


def collectives(hlo: str) -> dict[str, tuple[int, int]]:
    """How many collectives of each kind, and the bytes of their results on one device."""
    number, size = Counter(), Counter()
    for shape, kind, _ in _COLLECTIVE.findall(hlo):
        number[kind] += 1
        size[kind] += _bytes(shape)
    return {kind: (number[kind], size[kind]) for kind in sorted(number)}


def kernels(hlo: str) -> int:
    """Pallas kernels in the program."""
    return len(re.findall(r'custom_call_target="tpu_custom_call"', hlo))


def _bytes(shape: str) -> int:
    return sum(
        math.prod(int(side) for side in sides.split(",") if side) * _width(kind) // 8
        for kind, sides in _ARRAY.findall(shape)
    )


def _width(kind: str) -> int:
    """Bits of an element, as its type's name ends: bf16, f32, s8; a truth value takes a byte."""
    return 8 if kind == "pred" else int(re.search(r"\d+$", kind).group())
