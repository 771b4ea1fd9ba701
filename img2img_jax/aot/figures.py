"""What is known of a program once it is compiled."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from img2img_jax.aot.chip import CHIPS, Chip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """One compiled program on one chip of a slice. Bytes are those of one chip.

    Exact: memory, FLOPs, collectives. Estimates of the compiler, good for comparing programs and never a speed:
    ``cycles`` and ``optimal_seconds``. Both price the body of a loop once. The inside of a Pallas kernel has no price
    in ``cycles``, and in ``optimal_seconds`` that of the hint it gives.

    Attributes:
      stage: one of ``stages.STAGES``.
      topology: of the slice.
      resolution: side of the pictures in pixels.
      samples: a chip works on at once.
      fits: whether it compiles within the chip's memory; if not, ``refusal`` is what the compiler says, and what it
        would have said otherwise is None.
      arguments, temporaries, peak: bytes of weights and inputs; of what lies between; of all at the worst moment.
      flops: of one chip's share, counted in the traced program (see ``count_flops``).
      kernel_flops: those of them that Pallas kernels do, padded to the lanes of the matrix unit.
      cycles: the compiler's estimates for all operations, summed.
      optimal_seconds: its roofline, one operation after another.
      collectives: kind -> (number, bytes of the results).
      kernels: Pallas kernels in it.
    """

    stage: str
    topology: str
    resolution: int
    samples: int
    fits: bool
    refusal: str = ""
    arguments: int | None = None
    temporaries: int | None = None
    peak: int | None = None
    flops: int
    kernel_flops: int = 0
    cycles: int | None = None
    optimal_seconds: float | None = None
    collectives: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    kernels: int = 0

    @property
    def chip(self) -> Chip:
        return CHIPS[self.topology.split(":")[0]]

    @property
    def seconds(self) -> float | None:
        """``cycles`` at the chip's clock and ``kernel_flops`` at its peak: with kernels, at least."""
        return None if self.cycles is None else self.cycles / self.chip.clock + self.kernel_flops / self.chip.peak_flops

    @property
    def model_flop_use(self) -> float | None:
        """The share of the chip's peak that ``flops`` in ``seconds`` are: with kernels, at most."""
        return self.flops / self.seconds / self.chip.peak_flops if self.cycles else None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of ``dataclasses.asdict``, through JSON."""
        pairs = {kind: tuple(pair) for kind, pair in values["collectives"].items()}
        return cls(**{**values, "collectives": pairs})
