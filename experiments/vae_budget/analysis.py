"""What the VAE loses of each picture, and its share of all change."""

from img2img_jax.finder.calibration import ROUND_TRIP
from img2img_jax.lab import Results, interval, plots
from img2img_jax.lab.tables import markdown

CHANGE = "l1"
SHOWN = ("l1", "psnr", "ssim", "edge_f1", "clip_image")


def analyse(results: Results) -> str:
    if plots.can_plot():
        draw(results)
    shown = [metric for metric in SHOWN if metric in results.metrics]
    strengths = strengths_below_one(results)
    rows = []
    for image in [*results.distinct("image"), None]:
        losses = [interval(metric, round_trips(results, image)) for metric in shown]
        shares = [f"{share(results, strength, image):.0%}" for strength in strengths]
        rows.append([image or "all", *(loss and loss.mean for loss in losses), *shares])
    header = ["picture", *(f"{metric} of the VAE" for metric in shown)]
    return markdown([*header, *(f"share at {strength:g}" for strength in strengths)], rows)


def strengths_below_one(results: Results) -> list[float]:
    return [strength for strength in results.distinct("strength") if 0 < strength < 1]


def round_trips(results: Results, image: str | None) -> list:
    return [row for row in results.references if row["reference"] == ROUND_TRIP and image in (None, row["image"])]


def share(results: Results, strength: float, image: str | None) -> float:
    """The VAE's change over all change, in mean absolute difference; 1 where all of it is the VAE's."""
    knobs = {"strength": strength} | ({} if image is None else {"image": image})
    return interval(CHANGE, round_trips(results, image)).mean / interval(CHANGE, results.where(**knobs)).mean


def draw(results: Results) -> None:
    figure, [[left, right]] = plots.new_figure(1, 2, width=5.0, height=3.4)
    images, strengths = results.distinct("image"), strengths_below_one(results)
    losses = {image: interval(CHANGE, round_trips(results, image)).mean for image in images}
    ordered = sorted(images, key=losses.get)
    left.barh([image.rsplit(".", 1)[0] for image in ordered], [losses[image] for image in ordered], color="#0072b2")
    left.set_xlabel(f"{CHANGE} of the VAE's round trip")
    for image in images:
        shares = [share(results, strength, image) for strength in strengths]
        right.plot(strengths, shares, color="#999999", lw=0.8)
    right.plot(strengths, [share(results, s, None) for s in strengths], color="#0072b2", marker="o", lw=2)
    right.set_xlabel("strength")
    right.set_ylabel("share of the change that is the VAE's")
    right.set_ylim(0, None)
    right.grid(True, color="#dddddd", lw=0.6)
    plots.save(figure, results.folder / "figure")
