"""Two ways to do one piece of work, timed in turn, once they agree."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Work = Callable[[], np.ndarray]
"""Does a piece of work from its inputs to its result on the host, and returns that."""


class Disagreement(Exception):
    """Two ways to do the same work gave different results: their times cannot be compared."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """One piece of work, done by this package and by a peer in the same run.

    Attributes:
      ours, peer_took: what each round took, in seconds (or MiB, of peak memory), pairwise from the same moments.
      agreement: relative error between the results, ||ours - peer|| / ||peer||; None where there is none to compare.
      unit: of the figures.
    """

    work: str
    peer: str
    ours: tuple[float, ...]
    peer_took: tuple[float, ...]
    agreement: float | None = None
    unit: str = "s"

    @property
    def ratios(self) -> np.ndarray:
        """How many times as much the peer took, round by round: above 1 this package is ahead."""
        return np.asarray(self.peer_took) / np.asarray(self.ours)

    def record(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            "work": self.work,
            "peer": self.peer,
            f"ours_{self.unit}": float(np.median(self.ours)),
            f"peer_{self.unit}": float(np.median(self.peer_took)),
            "ratio": {name: float(value) for name, value in zip(("median", "min", "max"), self._spread(), strict=True)},
            "rounds": len(self.ours),
            "agreement": self.agreement,
        }

    def _spread(self) -> tuple[float, float, float]:
        return np.median(self.ratios), self.ratios.min(), self.ratios.max()

    def row(self) -> str:
        """Of the table that ``markdown`` makes."""
        median, least, most = self._spread()
        agreement = "" if self.agreement is None else f"{self.agreement:.0e}"
        figures = " | ".join(f"{np.median(took):.3g} {self.unit}" for took in (self.ours, self.peer_took))
        return f"| {self.work} | {self.peer} | {figures} | {median:.2f} ({least:.2f} to {most:.2f}) | {agreement} |"


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """||found - wanted|| / ||wanted||, in float64."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


Clock = Callable[[], float]
"""Seconds; only differences count."""

CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


def compare(
    work: str, peer: str, ours: Work, theirs: Work, *, rounds: int, bound: float, clock: str | Clock = "wall"
) -> Comparison:
    """Does the work in turn, ``rounds`` times each after one that is not timed but held to ``bound``.

    Who goes first changes from round to round, so that a machine that slows down slows both.

    Args:
      clock: "wall", or "cpu" for the seconds that all cores spent on it: what counts where others use them too; or
        a clock, for a peer whose seconds pass in another process.

    Raises:
      Disagreement: the relative error exceeds ``bound``.
    """
    error = relative_error(ours(), theirs())
    if not error <= bound:
        raise Disagreement(f"{work}: the results differ from those of {peer} by {error:.1e}, more than {bound:.0e}")
    took: dict[Work, list[float]] = {ours: [], theirs: []}
    for turn in range(rounds):
        for side in (ours, theirs) if turn % 2 == 0 else (theirs, ours):
            took[side].append(timed(side, clock)[0])
    return Comparison(work=work, peer=peer, ours=(*took[ours],), peer_took=(*took[theirs],), agreement=error)


def timed(work: Callable[[], Any], clock: str | Clock = "wall") -> tuple[float, Any]:
    """Seconds that a piece of work takes, and its result."""
    seconds = CLOCKS[clock] if isinstance(clock, str) else clock
    begin = seconds()
    result = work()
    return seconds() - begin, result


def markdown(comparisons: Iterable[Comparison]) -> str:
    """A table of comparisons; the ratio says how many times as much the peer takes."""
    head = (
        "| work | peer | ours | peer | ratio: median (min to max) | difference |\n| --- | --- | --- | --- | --- | --- |"
    )
    return "\n".join([head, *(comparison.row() for comparison in comparisons)])
