"""What a run's work directory holds, read tolerantly: a report of half a run is better than none."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from img2img_jax.checkpoints import read_json
from img2img_jax.runs import Records

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFiles:
    """The rows of a run, sorted out, and the facts about it.

    Attributes:
      folder: the work directory.
      config, manifest: the objects of ``config.json`` and ``manifest.json``; empty where there is no such file.
      samples: rows of pictures that were made, in the order of the plan.
      references: rows with a ``reference``, the name of a line to compare the curves with.
      failures: rows with an ``error``.
    """

    folder: Path
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    samples: Sequence[Row]
    references: Sequence[Row]
    failures: Sequence[Row]

    @property
    def missing(self) -> int:
        """Trials that the plan has and the rows have not, as far as ``config.json`` says: the run goes on, or died."""
        planned = self.config.get("trials", 0) + self.config.get("failed_inputs", 0)
        return max(planned - len(self.samples) - len(self.failures), 0)


def read_run(workdir: str | Path) -> RunFiles:
    """Reads a run, finished or not.

    Raises:
      ValueError: not a run's work directory, or a row that cannot be read; the message says which.
    """
    folder = Path(workdir)
    rows = _rows(folder)
    failures = [row for row in rows if "error" in row]
    references = [row for row in rows if "error" not in row and row.get("reference") is not None]
    samples = [row for row in rows if "error" not in row and row.get("reference") is None]
    for row in samples:
        if not isinstance(row.get("strength"), int | float):
            raise ValueError(f"{folder}: row {row.get('index')} has no strength; a report is of rows of a run")
    return RunFiles(
        folder=folder,
        config=_facts(folder / "config.json"),
        manifest=_facts(folder / "manifest.json"),
        samples=samples,
        references=references,
        failures=failures,
    )


def _rows(folder: Path) -> list[dict[str, Any]]:
    """Of the finished run, or else of the batches that are done."""
    whole = folder / "rows.jsonl"
    if not whole.is_file():
        rows = Records(folder).read()
        if not rows:
            raise ValueError(f"{folder} holds no rows of a run (rows.jsonl or rows/); name the run's work directory")
        return rows
    rows = []
    for number, line in enumerate(whole.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{whole}, line {number} is no JSON object ({error}); run again, or mend it") from error
    return rows


def _facts(path: Path) -> Mapping[str, Any]:
    return read_json(path) if path.is_file() else {}


def number(value: Any) -> float:
    """A number of a row; infinite ones are kept there as text, and what is none comes out as NaN."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def metric_names(rows: Sequence[Row]) -> list[str]:
    """Of all metrics in the rows, in the order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.get("metrics") or {}))
