"""Fidelity and prompt alignment against strength and against log-SNR."""

from img2img_jax.finder.calibration import ROUND_TRIP
from img2img_jax.lab import Results, plots
from img2img_jax.lab.reference_lines import UNRELATED
from img2img_jax.lab.tables import markdown
from img2img_jax.metrics import METRICS, spearman

DRAWN = ("ssim", "edge_f1", "clip_image", "clip_text")
LINES = (ROUND_TRIP, UNRELATED)  # the third line, text-to-image, is strength 1
FIDELITY = ("l1", "mse", "psnr", "ssim", "ms_ssim", "latent_mse", "edge_f1", "edge_distance", "clip_image")


def analyse(results: Results) -> str:
    if plots.can_plot():
        draw(results)
    strengths = results.distinct("strength")
    shown = strengths[:: max(len(strengths) // 5, 1)]
    rows = []
    for metric in results.metrics:
        curve = dict(results.curve(metric))
        lines = [results.lines(metric).get(name) for name in LINES]
        rows.append([metric, rank_correlation(results, metric), *(curve.get(s) for s in shown), *lines])
    return markdown(["metric", "Spearman", *(f"{s:g}" for s in shown), *LINES], rows)


def rank_correlation(results: Results, metric: str) -> float | None:
    """Spearman's of the mean with strength over the grid; fidelity counts upwards, so that it should be near -1."""
    strengths, means = zip(*((s, mean.mean) for s, mean in results.curve(metric)), strict=True)
    if len(set(means)) < 2:
        return None
    sign = -1 if metric in FIDELITY and METRICS[metric].better == "lower" else 1
    return sign * spearman(strengths, means)


def draw(results: Results) -> None:
    drawn = [metric for metric in DRAWN if metric in results.metrics]
    figure, axes = plots.new_figure(2, len(drawn), width=3.6, height=2.8)
    for row, over in zip(axes, plots.AXES, strict=True):
        for each, metric in zip(row, drawn, strict=True):
            plots.draw_curve(each, results, metric, over=over)
    plots.legend(figure, axes[0, 0])
    plots.save(figure, results.folder / "figure")
