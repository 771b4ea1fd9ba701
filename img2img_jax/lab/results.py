"""The rows of a run, for tables and figures."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from img2img_jax.metrics import Interval
from img2img_jax.reports.curves import finite_mean
from img2img_jax.sweep import Settings

OF_THE_START = ("log_snr", "timestep", "steps", "network_evaluations")
KNOBS = ("group", *(field.name for field in dataclasses.fields(Settings)))
"""What tells rows apart besides picture, prompt, strength and seed."""
FlatRow = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """Rows, flat: knobs, metrics and the start's ``OF_THE_START`` by their names, all numbers as floats.

    Attributes:
      folder: the run's work directory.
      rows: one per picture made.
      references: one per picture of a reference line, named "reference".
      failures: one per input or trial that failed, with "image" and "error".
      metrics: names, in the order of the rows.
    """

    folder: Path
    rows: Sequence[FlatRow]
    references: Sequence[FlatRow]
    failures: Sequence[FlatRow]
    metrics: Sequence[str]

    @classmethod
    def read(cls, workdir: str | Path) -> Results:
        """Reads ``rows.jsonl``.

        Raises:
          ValueError: the run has not finished.
        """
        file = Path(workdir) / "rows.jsonl"
        if not file.is_file():
            raise ValueError(f"{workdir} holds no finished run (rows.jsonl); start the run again to finish it")
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        made = [row for row in rows if "error" not in row]
        return cls(
            folder=Path(workdir),
            rows=[_flat(row) for row in made if "reference" not in row],
            references=[_flat(row) for row in made if "reference" in row],
            failures=[row for row in rows if "error" in row],
            metrics=list(dict.fromkeys(name for row in made for name in row["metrics"])),
        )

    def where(self, **knobs: Any) -> list[FlatRow]:
        """Rows with these values."""
        return [row for row in self.rows if all(row.get(name) == value for name, value in knobs.items())]

    def distinct(self, knob: str) -> list[Any]:
        """The values of a knob, numbers in order of size, others as they come."""
        values = list(dict.fromkeys(row[knob] for row in self.rows if row.get(knob) is not None))
        return sorted(values) if all(isinstance(value, int | float) for value in values) else values

    @property
    def varying(self) -> list[str]:
        """Those of ``KNOBS`` that have more than one value."""
        return [knob for knob in KNOBS if len({row.get(knob) for row in self.rows}) > 1]

    def lines(self, metric: str) -> dict[str, Interval]:
        """Mean of each reference line."""
        names = dict.fromkeys(row["reference"] for row in self.references)
        found = {name: interval(metric, [row for row in self.references if row["reference"] == name]) for name in names}
        return {name: mean for name, mean in found.items() if mean is not None}

    def curve(self, metric: str, over: str = "strength", **knobs: Any) -> list[tuple[float, Interval]]:
        """(value of ``over``, mean and interval of the metric) in order; only finite values of ``over``."""
        cells: dict[float, list[FlatRow]] = {}
        for row in self.where(**knobs):
            cells.setdefault(row[over], []).append(row)
        points = [(value, interval(metric, cells[value])) for value in sorted(cells) if math.isfinite(value)]
        return [(value, mean) for value, mean in points if mean is not None]


def interval(metric: str, rows: Iterable[FlatRow]) -> Interval | None:
    """Mean and 95 % interval over pictures and seeds of the finite values; None if there are none."""
    rows = list(rows)
    return finite_mean([row.get(metric, math.nan) for row in rows], rows)[0]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    start = {name: float(row["start"][name]) for name in OF_THE_START} if "start" in row else {}
    metrics = {name: float(value) for name, value in row["metrics"].items()}
    return {name: value for name, value in row.items() if name not in ("start", "metrics")} | start | metrics
