"""Curves with intervals, and their reference lines, as PNG and SVG. Needs the extra "plots" (matplotlib)."""

from __future__ import annotations

import contextlib
import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from img2img_jax.checkpoints.atomic import replacing
from img2img_jax.finder.calibration import ROUND_TRIP, TEXT_TO_IMAGE
from img2img_jax.lab.reference_lines import UNRELATED
from img2img_jax.lab.results import Results, interval
from img2img_jax.metrics import METRICS

AXES = {"strength": "strength", "log_snr": "log-SNR at the start (noisier to the right)"}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, told apart by the colour-blind as well."""
MARKERS = "osD^vP*"
LINE_STYLES = {ROUND_TRIP: "--", TEXT_TO_IMAGE: "-.", UNRELATED: ":"}
DPI = 110


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def new_figure(rows: int, columns: int, *, width: float = 4.6, height: float = 3.1) -> tuple[Any, Any]:
    """A figure and its axes [rows, columns]; sizes in inches of each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)  # no window system, no global state
    return figure, figure.subplots(rows, columns, squeeze=False)


def draw_curve(
    axes: Any,
    results: Results,
    metric: str,
    *,
    over: str = "strength",
    by: str | None = None,
    lines: bool = True,
    where: Mapping[str, Any] | None = None,
) -> None:
    """Draws a metric's mean and interval over ``over``, a curve for each value of ``by``, and the reference lines."""
    values = [None] if by is None else results.distinct(by)
    for place, value in enumerate(values):
        points = results.curve(metric, over, **(where or {}), **({} if by is None else {by: value}))
        if not points:
            continue
        x, means = zip(*points, strict=True)
        style = dict(color=COLOURS[place % len(COLOURS)])
        label = None if by is None else describe(by, value)
        marker = MARKERS[place % len(MARKERS)]
        axes.plot(x, [m.mean for m in means], marker=marker, markersize=3.5, lw=1.6, label=label, **style)
        axes.fill_between(x, [m.low for m in means], [m.high for m in means], alpha=0.18, lw=0, **style)
    for name, mean in results.lines(metric).items() if lines else ():
        axes.axhline(mean.mean, color="#666666", lw=1, ls=LINE_STYLES.get(name, "-"), label=name)
    if over == "log_snr" and not axes.xaxis_inverted():
        axes.invert_xaxis()
    label_axes(axes, metric, over)


def draw_path(axes: Any, results: Results, x: str, y: str, *, by: str | None = None) -> None:
    """Draws one metric against another, through the strengths, a path for each value of ``by``; ends are labelled."""
    for place, value in enumerate([None] if by is None else results.distinct(by)):
        knobs = {} if by is None else {by: value}
        xs, ys = (dict(results.curve(metric, **knobs)) for metric in (x, y))
        points = [(strength, xs[strength].mean, ys[strength].mean) for strength in xs if strength in ys]
        if not points:
            continue
        style = dict(color=COLOURS[place % len(COLOURS)], marker=MARKERS[place % len(MARKERS)])
        axes.plot(*zip(*(p[1:] for p in points), strict=True), markersize=3.5, lw=1.4, **style)
        axes.plot([], [], label=None if by is None else describe(by, value), **style)
        for strength, *point in (points[0], points[-1]):
            axes.annotate(f"{strength:g}", point, fontsize=8, xytext=(4, 4), textcoords="offset points")
    label_axes(axes, y, x)


def draw_heat_map(axes: Any, results: Results, metric: str, *, x: str, y: str = "strength") -> None:
    """Draws a metric's mean in a grid of two knobs, with its numbers."""
    columns, rows = results.distinct(x), results.distinct(y)
    found = [[interval(metric, results.where(**{x: a, y: b})) for a in columns] for b in rows]
    values = [[math.nan if cell is None else cell.mean for cell in row] for row in found]
    picture = axes.imshow(values, origin="lower", aspect="auto", cmap="viridis")
    middle = sum(picture.get_clim()) / 2
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            colour = "black" if value > middle else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
    axes.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
    axes.set_xlabel(x.replace("_", " "))
    axes.set_ylabel(y.replace("_", " "))
    axes.set_title(metric, fontsize=10)


def label_axes(axes: Any, metric: str, over: str) -> None:
    """Names both axes, with the direction in which the metric is better."""
    axes.set_xlabel(AXES.get(over, over if over in METRICS else over.replace("_", " ")))
    known = METRICS.get(metric)
    axes.set_ylabel(f"{metric} ({known.better} is nearer)" if known else metric)
    axes.grid(True, color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def legend(figure: Any, axes: Any) -> None:
    """One legend for the whole figure, below it, of what ``axes`` shows."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False, fontsize=9)


def describe(knob: str, value: Any) -> str:
    """A setting in words: "guidance scale 4", "euler"."""
    return value if isinstance(value, str) else f"{knob.replace('_', ' ')} {value:g}"


def save(figure: Any, path: Path) -> None:
    """Writes ``path`` with the endings .png and .svg; equal figures give equal files."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": path.name}), contextlib.ExitStack() as files:
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
            file = files.enter_context(replacing(path.with_name(path.name + suffix)))
            figure.savefig(file, format=suffix[1:], dpi=DPI, metadata=metadata)


def plot_all(results: Results) -> None:
    """``plots/METRIC_strength`` and ``plots/METRIC_log_snr`` for every metric of a run."""
    if not results.rows:
        return
    for metric in results.metrics:
        for over in AXES:
            figure, [[axes]] = new_figure(1, 1, width=6.4, height=4.4)
            draw_curve(axes, results, metric, over=over, by=_widest(results))
            legend(figure, axes)
            save(figure, results.folder / "plots" / f"{metric}_{over}")


def _widest(results: Results) -> str | None:
    """The knob to draw a curve for each value of: the one of most values."""
    counts: Sequence[tuple[int, str]] = [(len(results.distinct(knob)), knob) for knob in results.varying]
    return max(counts, key=lambda pair: pair[0])[1] if counts else None
