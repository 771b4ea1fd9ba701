"""One model's denoising handed over to the next: the noisy times to one, the clean ones to the other.

As an ensemble of expert denoisers (Balaji et al. 2211.01324), which is how SDXL's base and refiner are meant to be used
(Podell et al. 2307.01952, sec. 2.5). Both walk the same grid. A fraction f of the schedule cuts it at training step
T - f T: the first model runs the steps at or above the cut, the second those below it.
"""

import dataclasses
from collections.abc import Sequence

from ..arguments import number
from .solvers import Grid, Row, Solver


@dataclasses.dataclass(frozen=True, kw_only=True)
class Handover:
    """Which part of the schedule runs; all of it by default.

    What is handed over is the sampler's state in the scale its paper and diffusers write it in: x / alpha for the
    Euler, Heun and LMS samplers, x for the others. Both models need samplers of one scale.

    Attributes:
        denoising_start: fraction of the schedule that another model has run, in (0, 1); the latents are its result.
        denoising_end: fraction of the schedule after which to stop, in (0, 1].

    Raises:
        ValueError: for a fraction out of its range, or an end that is not above the start.
    """

    denoising_start: float | None = None
    denoising_end: float | None = None

    def __post_init__(self):
        start, end = self.denoising_start, self.denoising_end
        if start is not None and not 0 < number("denoising_start", start) < 1:
            raise ValueError(f"denoising_start={start!r} is not between 0 and 1; leave it out to start by strength")
        if end is not None and not 0 < number("denoising_end", end) <= 1:
            raise ValueError(f"denoising_end={end!r} is not in the range (0, 1]; leave it out to denoise to the end")
        if start is not None and end is not None and start >= end:
            raise ValueError(f"denoising_start={start!r} must be below denoising_end={end!r}")

    def first(self, grid: Grid, solver: Solver) -> int:
        """The step of ``grid`` to start from: the first one below the cut.

        Raises:
            ValueError: there is none.
        """
        every = solver.rows(grid, 0)
        first = _count(every, self.denoising_start, solver)
        if first == _count(every, None, solver):
            raise ValueError(
                f"denoising_start={self.denoising_start} leaves none of the {len(grid)} steps to run; use a smaller "
                "one or more num_inference_steps"
            )
        return first

    def cut(self, rows: Sequence[Row], grid: Grid, first: int, solver: Solver) -> list[Row]:
        """Those of ``rows``, which run ``grid`` from step ``first``, that lie at or above the cut.

        Raises:
            ValueError: there are none.
        """
        if self.denoising_end is None:
            return list(rows)
        kept = _count(rows, self.denoising_end, solver)
        if kept == 0:
            raise ValueError(
                f"denoising_end={self.denoising_end} stops at training step {_cutoff(self.denoising_end, solver)}, "
                f"before the run starts ({grid.timestep[solver.entry(first)]:g}); use a larger one or more strength"
            )
        rows = list(rows[: kept * solver.rows_per_step])
        if first + kept < len(grid):  # at the end of the grid, states are in the scale of clean latents already
            scale = solver.sample_scale(grid.alpha_next[solver.entry(first + kept - 1)])
            rows[-1] = dataclasses.replace(rows[-1], x=rows[-1].x / scale)
        return rows


WHOLE = Handover()
"""The whole schedule."""


def _cutoff(fraction: float, solver: Solver) -> int:
    total = solver.schedule.num_train_timesteps
    return int(round(total - fraction * total))


def _count(rows: Sequence[Row], fraction: float | None, solver: Solver) -> int:
    """Steps at or above the cut at ``fraction``; all of them for None."""
    cutoff = -1 if fraction is None else _cutoff(fraction, solver)
    return sum(row.timestep >= cutoff for row in rows[:: solver.rows_per_step])
