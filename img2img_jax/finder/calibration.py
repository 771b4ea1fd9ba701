"""What a strength does on the average, on a scale that means the same for every model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

from img2img_jax.checkpoints import read_json, write_json
from img2img_jax.finder.bisection import DIGITS
from img2img_jax.sweep import Settings

FORMAT = 1
BISECTIONS = 40
ROUND_TRIP = "VAE round trip"
TEXT_TO_IMAGE = "text-to-image"
_ABOUT_INPUTS = {"negative_prompt"}  # may differ from input to input

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """A rising map from strength to expected change, for one model and one sampler.

    Change is where a metric's mean lies between the two ends of what a model can do to a picture: 0 is what its VAE
    alone does, 1 is text-to-image, which knows nothing of the picture.

    Attributes:
      metric: the name of what was measured.
      round_trip, text_to_image: its means at change 0 and 1.
      strengths, changes: the knots, rising from 0 to 1, changes flat at most at the ends; between them lie piecewise
        cubics that rise as well (Fritsch & Carlson, SIAM J. Numer. Anal. 17(2), 1980). Strength 0 stands for the limit
        of small strengths: strength 0 itself gives the input back.
      deviation: how far the run's means lie off the map at most, in units of change; 0 if they rose by themselves.
      count: rows it was fitted to.
      made_with: settings of the run, and "weights_sha256" of its model if that was said.
    """

    metric: str
    round_trip: float
    text_to_image: float
    strengths: tuple[float, ...]
    changes: tuple[float, ...]
    deviation: float
    count: int
    made_with: Mapping[str, Any]

    def __post_init__(self):
        inner = [change for change in self.changes if 0 < change < 1]
        rising = all(
            knots and (knots[0], knots[-1]) == (0, 1) and sorted(knots) == list(knots)
            for knots in (self.strengths, self.changes)
        )
        repeated = len(set(self.strengths)) < len(self.strengths) or len(set(inner)) < len(inner)
        if not rising or repeated or len(self.strengths) != len(self.changes):
            knots = f"strengths {list(self.strengths)} and changes {list(self.changes)}"
            raise ValueError(f"{knots} do not rise together from 0 to 1; fit the calibration again")

    @classmethod
    def fit(
        cls,
        rows: Iterable[Row],
        metric: str,
        *,
        round_trip: float | None = None,
        text_to_image: float | None = None,
        weights_sha256: str | None = None,
    ) -> Calibration:
        """Fits the map to the rows of a run.

        The mean at each strength, over all pictures, prompts and seeds, is put between the two ends. Means that do not
        rise are pooled with their neighbours (isotonic regression, weighted by rows), and what lies beyond an end is
        put there. Strengths 0 and 1 are the ends themselves.

        Args:
          rows: of one model and settings, as ``rows.jsonl`` has them; failures are passed over.
          metric: whose values they have. It may rise or fall with strength.
          round_trip: the mean at change 0; by default that of the rows whose ``reference`` is "VAE round trip".
          text_to_image: the mean at change 1; by default that of the rows of reference "text-to-image", or else of
            those that ``is_text_to_image``.
          weights_sha256: of the model, to be kept in ``made_with``.

        Raises:
          ValueError: no such metric, several settings, no rows for an end, equal ends, or no strength between 0 and 1.
        """
        rows = [row for row in rows if "error" not in row]
        samples = [row for row in rows if row.get("reference") is None]
        made_with = _one_settings(samples) | ({"weights_sha256": weights_sha256} if weights_sha256 else {})
        low = round_trip if round_trip is not None else _reference(rows, ROUND_TRIP, metric)
        high = text_to_image if text_to_image is not None else _reference(rows, TEXT_TO_IMAGE, metric)
        if high is None:
            high = _mean([row for row in samples if is_text_to_image(row)], metric)[0]
        for name, end, what in (("round_trip", low, ROUND_TRIP), ("text_to_image", high, TEXT_TO_IMAGE)):
            if end is None or not math.isfinite(end):
                raise ValueError(f"no finite {metric} of the {what} in the rows; add reference rows, or give {name}")
        if low == high:
            raise ValueError(f"{metric} is {low:.4g} at both ends and says nothing about strength; take another metric")
        points = _points(samples, metric)
        if not points:
            raise ValueError(f"no row has a finite {metric} at a strength between 0 and 1; run some")
        strengths, means, counts = np.asarray(points).T
        changes = (means - low) / (high - low)
        knots = _rising(strengths, changes, counts)
        fitted = PchipInterpolator(*np.asarray(knots).T)(strengths)
        return cls(
            metric=metric,
            round_trip=float(low),
            text_to_image=float(high),
            strengths=tuple(strength for strength, _ in knots),
            changes=tuple(change for _, change in knots),
            deviation=float(np.abs(fitted - changes).max()),
            count=int(counts.sum()),
            made_with=made_with,
        )

    def change_at(self, strength: float) -> float:
        """Expected change, 0 to 1.

        Raises:
          ValueError: a strength outside [0, 1].
        """
        strength = _share("strength", strength)
        place = int(np.searchsorted(self.strengths, strength))
        if self.strengths[place] == strength:
            return self.changes[place]
        return float(np.clip(self._map(strength), 0, 1))

    def strength_for(self, change: float) -> float:
        """The least strength of an expected change, 0 to 1: the inverse of ``change_at``.

        Raises:
          ValueError: a change outside [0, 1].
        """
        change = _share("change", change)
        place = int(np.searchsorted(self.changes, change))
        if self.changes[place] == change:
            return self.strengths[place]
        (low, high), curve = self.strengths[place - 1 : place + 1], self._map
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if curve(middle) < change else (low, middle)
        return (low + high) / 2

    def typed(self, change: float) -> float:
        """``strength_for``, rounded to what a person would type, but not to strength 0, which does nothing at all."""
        return max(round(self.strength_for(change), DIGITS), 10**-DIGITS)

    def differences(self, now: Mapping[str, Any]) -> list[str]:
        """What of ``made_with`` is otherwise now, a text each; what either does not mention is passed over."""
        return [
            f"{name} was {value}, is {now[name]}"
            for name, value in self.made_with.items()
            if name in now and now[name] != value
        ]

    @property
    def _map(self) -> PchipInterpolator:
        return PchipInterpolator(self.strengths, self.changes)

    def save(self, path: str | Path) -> None:
        """Writes a JSON file, which appears whole or not at all."""
        write_json(Path(path), {"format": FORMAT, **dataclasses.asdict(self)})

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Reads a file of ``save``.

        Raises:
          ValueError: no such file, or not a calibration that this version can read.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"{path}: no such calibration; check the path, or fit one (docs/calibration.md)")
        fields = read_json(path)
        try:
            if fields.pop("format") != FORMAT:
                raise ValueError(f"its format is not {FORMAT}")
            knots = {name: tuple(map(float, fields.pop(name))) for name in ("strengths", "changes")}
            return cls(**knots, **fields)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: no calibration that can be read ({error}); fit it again") from error


def is_text_to_image(row: Row) -> bool:
    """Whether a row knows nothing of its picture: of strength 1, and not with ``noise_at_one="leak"``.

    A row that does not say where it started counts as one from pure noise.
    """
    return row["strength"] == 1 and row.get("start", {}).get("pure", True)


def _rising(strengths: np.ndarray, changes: np.ndarray, counts: np.ndarray) -> list[tuple[float, float]]:
    """Knots (strength, change) from (0, 0) to (1, 1): one for each pool of means, at the pool's mean strength.

    A pool beyond an end is put there, at the strength of its inner side.
    """
    pools = isotonic_regression(changes, weights=counts)
    knots = [(0.0, 0.0)]
    for first, last in zip(pools.blocks, pools.blocks[1:], strict=False):
        change = float(np.clip(pools.x[first], 0, 1))
        middle = np.average(strengths[first:last], weights=counts[first:last])
        strength = {0: strengths[last - 1], 1: strengths[first]}.get(change, middle)
        knots.append((float(strength), change))
    return [*knots, (1.0, 1.0)]


def _points(samples: Sequence[Row], metric: str) -> list[tuple[float, float, int]]:
    """(strength, mean, rows) at every strength between 0 and 1, in order."""
    points = []
    for strength in sorted({row["strength"] for row in samples if 0 < row["strength"] < 1}):
        mean, count = _mean([row for row in samples if row["strength"] == strength], metric)
        if mean is not None:
            points.append((strength, mean, count))
    return points


def _reference(rows: Sequence[Row], name: str, metric: str) -> float | None:
    return _mean([row for row in rows if row.get("reference") == name], metric)[0]


def _mean(rows: Sequence[Row], metric: str) -> tuple[float | None, int]:
    """Mean of the finite values, and their number; rows keep infinite ones as text."""
    values = [float(row["metrics"][metric]) for row in rows if metric in (row.get("metrics") or {})]
    finite = [value for value in values if math.isfinite(value)]
    return (math.fsum(finite) / len(finite), len(finite)) if finite else (None, 0)


def _one_settings(samples: Sequence[Row]) -> dict[str, Any]:
    """The value of each of the ``Settings`` that the rows tell."""
    found: dict[str, Any] = {}
    for name in (field.name for field in dataclasses.fields(Settings) if field.name not in _ABOUT_INPUTS):
        values = list(dict.fromkeys(row[name] for row in samples if name in row))
        if len(values) > 1:
            several = ", ".join(map(str, values))
            raise ValueError(f"the rows are of {name} {several}; fit a calibration to each by itself")
        if values:
            [found[name]] = values
    return found


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:  # NaN as well
        raise ValueError(f"{name} {value} is not in 0 to 1; give one that is")
    return float(value)
