"""What the page's script works on, as one JSON object."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from img2img_jax.metrics import METRICS
from img2img_jax.reports.curves import Point, StrengthCurve, log_snr, reference_mean
from img2img_jax.reports.run_files import Row, RunFiles, metric_names, number
from img2img_jax.reports.series import Pictures, Series

_SPELLED = {"l1": "L1", "f1": "F1", "ms": "MS", "mse": "MSE", "psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS"}
_SPELLED |= {"clip": "CLIP", "vae": "VAE"}


def label(name: str) -> str:
    """A name of the rows for people: ``edge_f1`` is edge F1."""
    return " ".join(_SPELLED.get(word, word) for word in name.split("_"))


def page_data(
    run: RunFiles, curves: Sequence[StrengthCurve], embedded: Sequence[tuple[Series, Pictures | None]]
) -> dict[str, Any]:
    """Everything the page shows and moves; texts as they are, to be escaped by whoever writes them."""
    names = metric_names(run.samples)
    shared = shared_values(run.samples)
    pictures = _Numbered()
    return {
        "metrics": [_metric(name) for name in names],
        "curves": [
            {
                "metric": names.index(curve.metric),
                "settings": curve.settings,
                "points": [_point(point) for point in curve.points],
                "rank": curve.rank_correlation,
            }
            for curve in curves
        ],
        "references": [
            {"label": label(str(kind)), "means": [_mean(name, rows) for name in names]}
            for kind, rows in references_by_kind(run.references).items()
        ],
        "shared": shared,
        "series": [_series(one, found, names, shared, pictures) for one, found in embedded if found is not None],
        "pictures": pictures.values,
    }


def references_by_kind(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Reference rows by the name of their line."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kinds.setdefault(str(row["reference"]), []).append(row)
    return kinds


class _Numbered:
    """Gives texts numbers, equal ones the same."""

    def __init__(self):
        self._places: dict[str, int] = {}

    def __call__(self, text: str | None) -> int | None:
        return None if text is None else self._places.setdefault(text, len(self._places))

    @property
    def values(self) -> list[str]:
        return list(self._places)


def _metric(name: str) -> dict[str, Any]:
    known = METRICS.get(name)
    facts = {"measures": known.measures, "better": known.better} if known else {"measures": "", "better": None}
    return {"name": name, "label": label(name), **facts}


def _point(point: Point) -> dict[str, Any]:
    interval = point.interval._asdict() if point.interval else {"mean": None, "low": None, "high": None}
    return {"strength": point.strength, "log_snr": _plain(point.log_snr), **interval}


def _mean(name: str, rows: Sequence[Row]) -> float | None:
    interval = reference_mean(name, rows)
    return interval and interval.mean


def _series(
    one: Series, found: Pictures, names: Sequence[str], shared: Mapping[str, Any], picture: Callable
) -> dict[str, Any]:
    return {
        "image": one.image,
        "prompt": one.prompt,
        "seed": one.seed,
        "settings": one.settings,
        "source": picture(found.source),
        "samples": [
            {
                "strength": row["strength"],
                "log_snr": _plain(log_snr(row)),
                "values": [_plain(number((row.get("metrics") or {}).get(name))) for name in names],
                "picture": picture(uri),
                "parameters": {key: value for key, value in flat(row).items() if key not in shared},
            }
            for row, uri in zip(one.rows, found.outputs, strict=True)
        ],
    }


def shared_values(rows: Sequence[Row]) -> dict[str, Any]:
    """The flattened fields that all rows have, with one value."""
    flattened = [flat(row) for row in rows]
    first = flattened[0] if flattened else {}
    return {key: value for key, value in first.items() if all(f.get(key, flattened) == value for f in flattened)}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one, keys joined by dots; lists as they are."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def _plain(value: float | None) -> float | str | None:
    """JSON has no infinities: they become the text that rows keep; NaN becomes null."""
    if value is None or math.isnan(value):
        return None
    return str(value) if math.isinf(value) else value
