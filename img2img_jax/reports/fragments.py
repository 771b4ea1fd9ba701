"""The parts of the page that need no script, as HTML. Every text of a run is escaped here."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from img2img_jax.metrics import Interval
from img2img_jax.reports.curves import Point, StrengthCurve, reference_mean
from img2img_jax.reports.page_data import flat, label, references_by_kind, shared_values
from img2img_jax.reports.run_files import RunFiles, metric_names
from img2img_jax.reports.series import Series


def facts(run: RunFiles) -> str:
    """A line of counts, and one of what all pictures share."""
    rows = run.samples
    counts = [
        _count(len(rows), "picture"),
        _count(len({(row.get("image"), row.get("image_sha256")) for row in rows}), "input"),
        _count(len({row["strength"] for row in rows}), "strength"),
        _count(len({row.get("seed") for row in rows}), "seed"),
    ]
    shared = {**flat(run.config), **shared_values(rows)}
    named = {
        "model": shared.get("provenance.model", "not known") or "embedded",
        "sampler": shared.get("scheduler", "several") or "the checkpoint's own",
        "steps": shared.get("num_inference_steps"),
        "guidance": shared.get("guidance_scale"),
        "mode": shared.get("strength_mode"),
    }
    terms = "".join(f"<div><dt>{key}</dt><dd>{html.escape(_short(v))}</dd></div>" for key, v in named.items() if v)
    return f'<p class="counts">{" · ".join(counts)}</p>\n<dl class="facts">{terms}</dl>'


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def notices(run: RunFiles, left_out: Sequence[Series], page_bytes: int) -> str:
    """What a reader must know before the curves."""
    notices = []
    if run.missing:
        notices.append(f"This run is not finished: {_count(run.missing, 'trial')} of its plan still to come.")
    if run.failures:
        count = _count(len(run.failures), "failure")
        notices.append(f'{count}: <a href="#failures">see which</a>.')
    if left_out:
        size = f"{page_bytes / 1e6:.3g} MB"
        what = f"The pictures of {len(left_out)} series are not on this page, which embeds {size} of them at most"
        notices.append(f'{what}: <a href="#left-out">where they are</a>. Curves and numbers are of all pictures.')
    return "".join(f'<p class="notice">{notice}</p>' for notice in notices)


def numbers(run: RunFiles, curves: Sequence[StrengthCurve]) -> str:
    """The curves as a table: rows by settings and strength, a column a metric."""
    names = metric_names(run.samples)
    cells: dict[tuple[str, float], dict[str, Point]] = {}
    for curve in curves:
        for point in curve.points:
            cells.setdefault((curve.settings, point.strength), {})[curve.metric] = point
    head = "".join(f'<th scope="col">{html.escape(label(name))}</th>' for name in names)
    body = [
        _row(f"{strength:g}" + (f" · {settings}" if settings else ""), [_point(points.get(name)) for name in names])
        for (settings, strength), points in cells.items()
    ]
    for kind, rows in references_by_kind(run.references).items():
        body.append(_row(label(kind), [_interval(reference_mean(name, rows)) for name in names]))
    return f'<table><thead><tr><th scope="col">strength</th>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _row(heading: str, cells: Iterable[str]) -> str:
    return f'<tr><th scope="row">{html.escape(heading)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _point(point: Point | None) -> str:
    if point is None or point.finite == point.count:
        return _interval(point and point.interval)
    return f"{_interval(point.interval)} <small>{point.finite} of {point.count} finite</small>"


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    mean, low, high = (f"{value:.3g}" for value in interval)
    return f"{mean} <small>{low} to {high}</small>"


def failures(run: RunFiles) -> str:
    """Every failure by the name of its input."""
    if not run.failures:
        return "<p>None.</p>"
    items = [
        f"<li><b>{html.escape(str(row.get('image', 'unknown')))}</b> {html.escape(str(row['error']))}</li>"
        for row in run.failures
    ]
    return f'<ul class="failures">{"".join(items)}</ul>'


def left_out(series: Sequence[Series]) -> str:
    """The section on series whose pictures are not embedded; empty without any."""
    if not series:
        return ""
    items = []
    for one in series:
        about = ", ".join(filter(None, [f"seed {one.seed}", one.settings]))
        files = ", ".join(str(row.get("output", "no file")) for row in one.rows)
        items.append(f"<li><b>{html.escape(one.image)}</b> {html.escape(about)}: {html.escape(files)}</li>")
    what = f"<summary>{len(series)} series, in the run’s folder</summary>"
    listed = f'<details>{what}<ul class="failures">{"".join(items)}</ul></details>'
    return f'<section id="left-out"><h2>Not on this page</h2>{listed}</section>'


def table(facts: Mapping[str, Any]) -> str:
    """Names and values."""
    if not facts:
        return "<p>Not recorded.</p>"
    rows = "".join(_row(key, [html.escape(_text(value))]) for key, value in facts.items())
    return f"<table><tbody>{rows}</tbody></table>"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
