"""summary.csv: a line for each metric in each cell of a run."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from img2img_jax import images
from img2img_jax.checkpoints.atomic import replacing
from img2img_jax.lab.results import OF_THE_START, FlatRow, Results, interval
from img2img_jax.metrics import compare_sets

FEATURES_AT_A_TIME = 16
FeaturesOf = Callable[[np.ndarray], Any]


def write_summary(results: Results, sets: Sequence[dict[str, Any]] = ()) -> None:
    """Writes ``summary.csv``: means with bootstrap intervals over pictures and seeds, of all reference lines too.

    Args:
      sets: lines on cells as sets, from ``set_lines``.
    """
    varying = results.varying
    fields = ["reference", *varying, "strength", *OF_THE_START, "metric", "mean", "low", "high", "finite", "count"]
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    for cell in (*_cells(results, varying), *_reference_cells(results)):
        writer.writerows(_lines(cell, results.metrics))
    writer.writerows(sets)
    with replacing(results.folder / "summary.csv") as file:
        file.write(text.getvalue().encode())


def set_lines(results: Results, features: FeaturesOf, references: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """KID and CMMD of every cell's outputs to the reference pictures (see ``metrics.compare_sets``).

    Args:
      features: CLIP's of pictures [B,H,W,3] in 0..1 (``Evaluator.features``).
      references: pictures [H,W,3] in 0..1, two or more, all of one size; the outputs of that size are compared.
    """
    given, lines = _features(features, references), []
    for knobs, rows in _cells(results, results.varying):
        pictures = [_picture(results.folder, row) for row in rows]
        pictures = [picture for picture in pictures if picture.shape == references[0].shape]
        if len(pictures) > 1:
            values = compare_sets(_features(features, pictures), given)
            lines += [
                {**knobs, **_start(rows), "metric": name, "mean": values[name], "count": len(pictures)}
                for name in ("kid", "cmmd")
            ]
    return lines


def _features(features: FeaturesOf, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """[N, p]; always as many pictures at a time, so that any number of them compiles once."""
    found = []
    for first in range(0, len(pictures), FEATURES_AT_A_TIME):
        chunk = np.stack(pictures[first : first + FEATURES_AT_A_TIME])
        filled = np.resize(chunk, (FEATURES_AT_A_TIME, *chunk.shape[1:]))
        found.append(np.asarray(features(filled))[: len(chunk)])
    return np.concatenate(found)


def _picture(folder: Path, row: FlatRow) -> np.ndarray:
    return images.as_unit(np.asarray(images.load_image(folder / row["output"])))


def _cells(results: Results, varying: Sequence[str]) -> Iterator[tuple[dict[str, Any], list[FlatRow]]]:
    """Rows that differ in picture, prompt and seed alone, with what they have in common; in the plan's order."""
    cells: dict[Any, list[FlatRow]] = {}
    for row in results.rows:
        cells.setdefault((*(row.get(name) for name in varying), row["strength"]), []).append(row)
    for values, rows in cells.items():
        yield dict(zip((*varying, "strength"), values, strict=True)), rows


def _reference_cells(results: Results) -> Iterator[tuple[dict[str, Any], list[FlatRow]]]:
    for name, rows in itertools.groupby(results.references, key=lambda row: row["reference"]):
        yield {"reference": name}, list(rows)


def _lines(cell: tuple[dict[str, Any], list[FlatRow]], metrics: Sequence[str]) -> Iterator[dict[str, Any]]:
    knobs, rows = cell
    for metric in metrics:
        values = [row[metric] for row in rows if metric in row]
        if not values:
            continue
        finite = sum(map(math.isfinite, values))
        found = interval(metric, rows)
        numbers = found._asdict() if found else {"mean": values[0]}
        yield {**knobs, **_start(rows), "metric": metric, **numbers, "finite": finite, "count": len(values)}


def _start(rows: Sequence[FlatRow]) -> dict[str, Any]:
    """Where the rows started; what is not the same for all is left out."""
    return {
        name: rows[0][name] for name in OF_THE_START if name in rows[0] and len({row.get(name) for row in rows}) == 1
    }
