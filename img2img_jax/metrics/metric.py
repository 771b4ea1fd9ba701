"""What there is to know about a metric."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

from jaxtyping import Array, Float

from img2img_jax.metrics.comparison import Comparison


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """A number per sample, and how to read it.

    Attributes:
      name: the key of its values.
      measures: in a few words.
      low, high: the range; infinite where there is no bound.
      better: the direction, "lower" or "higher". Fidelity metrics are at their best when output and source are equal.
      inputs: attributes of ``Comparison`` it takes.
      network: the key in ``Comparison.networks`` of the network it needs, or None.
      smallest: side in pixels of the smallest picture it can take.
      reference: the paper, and the implementation it agrees with.
      compute: values [B], float32, of a comparison.
    """

    name: str
    measures: str
    low: float
    high: float
    better: Literal["lower", "higher"]
    inputs: tuple[str, ...] = ("source", "output")
    network: str | None = None
    smallest: int = 1
    reference: str
    compute: Callable[[Comparison], Float[Array, " b"]]

    @property
    def best(self) -> float:
        """The end of the range that is better."""
        return self.low if self.better == "lower" else self.high

    @property
    def range_text(self) -> str:
        """The range in words, e.g. ``"0 to 1"`` or ``"0 and up"``."""
        if math.isinf(self.high):
            return f"{self.low:g} and up"
        return f"{self.low:g} to {self.high:g}"

    def obstacle(self, comparison: Comparison) -> str | None:
        """Why it cannot be computed of ``comparison``, with the remedy; None if it can."""
        if self.network is not None and self.network not in comparison.networks:
            return f"{self.name} needs the network {self.network!r}: give Evaluator.load its path or hub id"
        absent = [name for name in self.inputs if getattr(comparison, name) is None]
        if absent:
            return f"{self.name} needs {' and '.join(absent)}; pass what is missing, or leave the metric out"
        side = min(comparison.source.shape[1:3])
        if side < self.smallest:
            return f"{self.name} needs pictures of at least {self.smallest} pixels a side, not {side}; leave it out"
        return None
