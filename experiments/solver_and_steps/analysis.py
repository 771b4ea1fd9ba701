"""Samplers over network evaluations, and the three modes side by side."""

from img2img_jax.lab import Results, interval, plots
from img2img_jax.lab.tables import markdown

SHOWN = ("ssim", "clip_image", "clip_text")
WORK = "network_evaluations"
MODE = "strength_mode"


def analyse(results: Results) -> str:
    shown = [metric for metric in SHOWN if metric in results.metrics]
    if plots.can_plot():
        draw_samplers(results, shown)
        draw_modes(results, shown)
    rows = []
    for mode in results.distinct(MODE):
        for sampler in results.distinct("scheduler"):
            for strength in results.distinct("strength"):
                cell = results.where(**{MODE: mode, "scheduler": sampler, "strength": strength})
                most = max((row[WORK] for row in cell), default=0)
                cell = [row for row in cell if row[WORK] == most]
                rows.append([mode, sampler, f"{strength:g}", f"{most:g}", *(interval(m, cell) for m in shown)])
    return markdown(["mode", "sampler", "strength", "evaluations", *shown], rows)


def draw_samplers(results: Results, shown: list[str]) -> None:
    """A row of axes for each strength, in the last mode (continuous), where the number of steps is free."""
    strengths, mode = results.distinct("strength"), results.distinct(MODE)[-1]
    figure, axes = plots.new_figure(len(strengths), len(shown), width=3.8, height=2.6)
    for row, strength in zip(axes, strengths, strict=True):
        for each, metric in zip(row, shown, strict=True):
            where = {MODE: mode, "strength": strength}
            plots.draw_curve(each, results, metric, over=WORK, by="scheduler", lines=False, where=where)
            each.set_title(f"strength {strength:g}, {mode}", fontsize=9)
    plots.legend(figure, axes[0, 0])
    plots.save(figure, results.folder / "figure")


def draw_modes(results: Results, shown: list[str]) -> None:
    """A row of axes for each mode, over strength, at the largest budget."""
    modes = results.distinct(MODE)
    figure, axes = plots.new_figure(len(modes), len(shown), width=3.8, height=2.6)
    for row, mode in zip(axes, modes, strict=True):
        for each, metric in zip(row, shown, strict=True):
            plots.draw_curve(each, results, metric, by="scheduler", lines=False, where={MODE: mode})
            each.set_title(f"{mode}, all budgets", fontsize=9)
    plots.legend(figure, axes[0, 0])
    plots.save(figure, results.folder / "modes")
