"""Where the variance of a metric comes from: strength, picture, both together, seed."""

import numpy as np

from img2img_jax.lab import Results, plots
from img2img_jax.lab.tables import markdown

SHOWN = ("l1", "ssim", "edge_f1", "clip_image", "clip_text")
SOURCES = ("strength", "picture", "strength x picture", "seed")


def analyse(results: Results) -> str:
    shown = [metric for metric in SHOWN if metric in results.metrics]
    if plots.can_plot():
        draw(results, shown)
    rows = []
    for metric in shown:
        values = table(results, metric)
        spread = values.std(axis=2, ddof=1).mean(axis=1)
        rows.append([metric, *(f"{part:.0%}" for part in shares(values)), *map(float, spread)])
    strengths = results.distinct("strength")
    return markdown(["metric", *SOURCES, *(f"seed's deviation at {s:g}" for s in strengths)], rows)


def table(results: Results, metric: str) -> np.ndarray:
    """Values [strengths, pictures, seeds] of the pictures that have all of them."""
    strengths, seeds = results.distinct("strength"), results.distinct("seed")
    found = {(row["strength"], row["image"], row["seed"]): row[metric] for row in results.rows if metric in row}
    images = [
        image for image in results.distinct("image") if all((s, image, n) in found for s in strengths for n in seeds)
    ]
    return np.asarray([[[found[s, image, n] for n in seeds] for image in images] for s in strengths])


def shares(values: np.ndarray) -> list[float]:
    """Of the sum of squares around the mean (analysis of variance, balanced): that of each of SOURCES, 1 in all."""
    mean = values.mean()
    cells = values.mean(axis=2)
    strength, picture = cells.mean(axis=1) - mean, cells.mean(axis=0) - mean
    together = cells - mean - strength[:, None] - picture[None]
    seed = values - cells[..., None]
    squares = [
        (np.broadcast_to(part, values.shape) ** 2).sum()
        for part in (strength[:, None, None], picture[None, :, None], together[..., None], seed)
    ]
    return [float(square / max(sum(squares), 1e-30)) for square in squares]


def draw(results: Results, shown: list[str]) -> None:
    figure, [axes] = plots.new_figure(1, len(shown), width=3.2, height=3.0)
    strengths = results.distinct("strength")
    for each, metric in zip(axes, shown, strict=True):
        values = table(results, metric)
        parts = {
            "between seeds": values.std(axis=2, ddof=1).mean(axis=1),
            "between pictures": values.mean(axis=2).std(axis=1, ddof=1),
        }
        for place, (name, spread) in enumerate(parts.items()):
            each.plot(strengths, spread, label=name, color=plots.COLOURS[place], marker=plots.MARKERS[place])
        plots.label_axes(each, metric, "strength")
        each.set_ylabel(f"standard deviation of {metric}")
        each.set_ylim(0, None)
    plots.legend(figure, axes[0])
    plots.save(figure, results.folder / "figure")
