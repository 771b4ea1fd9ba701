"""Rows to a table, a figure and a prediction. Reads files alone."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

Row = dict[str, Any]

KINDS = ("weak", "strong")
COLUMNS = (
    "scaling",
    "devices",
    "samples",
    "samples/s",
    "efficiency",
    "loop share",
    "host share",
    "useful slot-steps",
    "lost by a fault",
)
CHIPS = (1, 4, 16, 64, 256)
DAYS_BETWEEN_FAULTS = 365.0
"""Of one chip, in predictions: an assumption, to be replaced by what one's own slices show."""
CHIPS_OF_A_HOST = 4
"""In slices of several hosts (v5e, v5p, v6e)."""


def analyse(workdir: Path, *, aot: str | None = None) -> str:
    """Markdown; writes ``scaling.png`` as well, where matplotlib is installed.

    Args:
      workdir: with ``rows/``.
      aot: JSON of scripts/aot_report.py.
    """
    rows = [json.loads(file.read_text()) for file in sorted((workdir / "rows").glob("*.json"))]
    if not rows:
        raise FileNotFoundError(f"{workdir}/rows holds no rows; run the study first")
    parts = [f"{_devices(rows)}.", _markdown(COLUMNS, [_line(row, rows) for row in _ordered(rows)])]
    if aot:
        figures = json.loads(Path(aot).read_text())
        parts.append(predict(figures, restart_seconds=_restart(rows), host_seconds=_host(rows)))
    _draw(rows, workdir / "scaling.png")
    return "\n\n".join(parts)


def throughput(row: Row) -> float:
    """Samples a second, by the median call."""
    return row["samples"] / statistics.median(row["seconds"])


def efficiency(row: Row, rows: list[Row]) -> float:
    """Throughput as a share of what the devices would do one by one.

    Virtual devices share one processor, whose throughput cannot grow: theirs is the share that splitting leaves of it.
    """
    one = next(each for each in rows if each["kind"] == row["kind"] and each["devices"] == 1)
    ideal = 1 if row["virtual"] else row["devices"]
    return throughput(row) / (ideal * throughput(one))


def lost_by_a_fault(row: Row) -> float:
    """Seconds: to start a process, load and compile again, and half a batch, which had been begun."""
    return row["load_seconds"] + row["first_call_seconds"] + statistics.median(row["seconds"]) / 2


def predict(figures: list[dict[str, Any]], *, restart_seconds: float, host_seconds: float) -> str:
    """Scaling from the compiler's estimates for one chip, for as many chips.

    A slice without collectives in the loop does as many times one chip's work, less the time in which chips wait for
    their host, which has several. What grows with the slice is the chance that a host fails, and that all that run
    beside it in one job start again.

    Args:
      figures: of one topology: "step", and "encode" and "decode" where they are. Of several numbers of samples a chip
        the largest that fits counts.
      restart_seconds: lost by a fault, as measured.
      host_seconds: of the host for one sample, as measured. Calls of the pipeline add it; an ``Engine`` does that work
        while the chips do theirs.
    """
    usable = [each for each in figures if each["fits"] and each["seconds"]]
    if not any(each["stage"] == "step" for each in usable):
        raise ValueError("no step in these figures fits the chip; compile it for fewer samples (--batch)")
    largest = max(each["samples"] for each in usable if each["stage"] == "step")
    by_stage = {each["stage"]: each for each in usable if each["samples"] == largest}
    step, steps = by_stage["step"], 50
    if step["collectives"]:
        raise ValueError(f"the step on {step['topology']} holds collectives ({step['collectives']}); this is for none")
    seconds = steps * step["seconds"] + sum(
        by_stage[name]["seconds"] for name in ("encode", "decode") if name in by_stage
    )
    one, lines = step["samples"] / seconds, []
    for chips in CHIPS:
        waiting = host_seconds * step["samples"] * min(chips, CHIPS_OF_A_HOST)
        share = seconds / (seconds + waiting) * (1 - min(1.0, chips * restart_seconds / (DAYS_BETWEEN_FAULTS * 86400)))
        lines.append([chips, f"{chips * one * share:.3g}", f"{share:.4f}"])
    about = (
        f"Predicted for {step['topology'].split(':')[0]} chips, {step['resolution']} px, {step['samples']} samples a "
        f"chip, {steps} steps, by the compiler's estimate of {seconds:.3g} s a batch (an estimate, no speed), with a "
        f"fault every {DAYS_BETWEEN_FAULTS:g} days of a chip (assumed) that costs {restart_seconds:.3g} s (measured), "
        f"and hosts of {CHIPS_OF_A_HOST} chips that take {host_seconds:.2g} s a sample (measured) while these wait:"
    )
    return f"{about}\n\n{_markdown(('chips', 'samples/s', 'efficiency'), lines)}"


def _devices(rows: list[Row]) -> str:
    kinds = sorted({row["device_kind"] for row in rows})
    if any(row["virtual"] for row in rows):
        return (
            f"**Virtual devices** of one {', '.join(kinds)}, which share its cores: efficiency is the share of the "
            "throughput that is left when the batch is split, and no speed-up is to be had. Seconds are the processor's"
        )
    return f"Devices: {', '.join(kinds)}"


def _line(row: Row, rows: list[Row]) -> list[Any]:
    loop, host = (_share(row, name) for name in ("loop_seconds", "host_seconds"))
    return [
        *(row["kind"], row["devices"], row["samples"], f"{throughput(row):.3g}", f"{efficiency(row, rows):.2f}"),
        *(
            *(f"{loop:.2f}", f"{host:.3f}"),
            f"{row['useful_slot_steps'] / row['slot_steps']:.2f}",
            f"{lost_by_a_fault(row):.3g} s",
        ),
    ]


def _share(row: Row, name: str) -> float:
    """Of a call's time; the two are measured apart, so that noise could take it above 1."""
    return min(statistics.median(row[name]) / statistics.median(row["seconds"]), 1.0)


def _ordered(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (KINDS.index(row["kind"]), row["devices"]))


def _restart(rows: list[Row]) -> float:
    return max(map(lost_by_a_fault, rows))


def _host(rows: list[Row]) -> float:
    """Seconds a sample, in the largest batch: part of them is a call's, and shared out among its samples."""
    largest = max(rows, key=lambda row: (row["samples"], row["devices"]))
    return statistics.median(largest["host_seconds"]) / largest["samples"]


def _markdown(columns: tuple[str, ...], lines: list[list[Any]]) -> str:
    table = [columns, ["---"] * len(columns), *lines]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in table)


def _draw(rows: list[Row], file: Path) -> None:
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for axis, name, value in zip(
        axes, ("samples/s", "efficiency"), (throughput, lambda row: efficiency(row, rows)), strict=True
    ):
        for kind, marker in zip(KINDS, "os", strict=True):
            points = [(row["devices"], value(row)) for row in _ordered(rows) if row["kind"] == kind]
            axis.plot(*zip(*points, strict=True), marker=marker, label=f"{kind} scaling")
        virtual = rows[0]["virtual"]
        unit = name.replace("/s", " a CPU second") if virtual else name
        axis.set(
            xlabel="virtual devices (one CPU)" if virtual else "devices",
            ylabel=unit,
            ylim=(0, 1.1 * max(map(value, rows))),
        )
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda x, _: f"{round(x)}" if math.log2(x) % 1 < 1e-6 else "")
    axes[1].axhline(1, color="0.7", linewidth=1, zorder=0)
    axes[0].legend()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
