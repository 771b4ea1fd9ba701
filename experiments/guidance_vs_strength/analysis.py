"""Heat maps of the two knobs, and the plot of InstructPix2Pix: CLIP direction against CLIP-I."""

from img2img_jax.lab import Results, interval, plots
from img2img_jax.lab.tables import markdown

HEATED = ("ssim", "clip_image", "clip_text")
DIRECTION, LIKENESS = "clip_direction", "clip_image"
KNOB = "guidance_scale"


def analyse(results: Results) -> str:
    if plots.can_plot():
        draw(results)
    heated = [metric for metric in HEATED if metric in results.metrics]
    rows = []
    for scale in results.distinct(KNOB):
        for strength in results.distinct("strength"):
            cell = results.where(**{KNOB: scale, "strength": strength})
            rows.append([f"{scale:g}", f"{strength:g}", *(interval(metric, cell) for metric in heated)])
    return markdown(["guidance scale", "strength", *heated], rows)


def draw(results: Results) -> None:
    heated = [metric for metric in HEATED if metric in results.metrics]
    directed = {DIRECTION, LIKENESS} <= set(results.metrics)
    figure, [axes] = plots.new_figure(1, len(heated) + directed, width=3.8, height=3.3)
    for each, metric in zip(axes, heated, strict=False):
        plots.draw_heat_map(each, results, metric, x=KNOB)
    if directed:
        plots.draw_path(axes[-1], results, DIRECTION, LIKENESS, by=KNOB)
        axes[-1].legend(fontsize=8, frameon=False)
    plots.save(figure, results.folder / "figure")
