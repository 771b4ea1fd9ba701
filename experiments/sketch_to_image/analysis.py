"""Structure kept against prompt reached, and the strengths that have most of both."""

from img2img_jax.lab import Results, plots
from img2img_jax.lab.tables import markdown

KEPT, REACHED = "edge_f1", "clip_text"
ENOUGH = 0.5


def analyse(results: Results) -> str:
    if plots.can_plot() and {KEPT, REACHED} <= set(results.metrics):
        draw(results)
    groups = results.distinct("group") or [None]
    rows = [[group or "all", *band(results, group)] for group in groups]
    header = ["input", "strengths with half of both", "best strength", f"{KEPT} there", f"{REACHED} there"]
    return markdown(header, rows)


def band(results: Results, group: str | None) -> list:
    """The band of strengths, the one with the best of the worse share, and the metrics there.

    Shares of the way between the lowest and the highest strength: of structure what is left of it, of the prompt what
    is gained.
    """
    knobs = {} if group is None else {"group": group}
    kept, reached = (dict(results.curve(metric, **knobs)) for metric in (KEPT, REACHED))
    shared = [strength for strength in kept if strength in reached]
    if len(shared) < 2:
        return [None] * 4
    first, last = shared[0], shared[-1]
    if reached[last].mean <= reached[first].mean:
        return ["the sketch meets the prompt", None, None, None]
    worse = {
        s: min(_share(kept[s], kept[last], kept[first]), _share(reached[s], reached[first], reached[last]))
        for s in shared
    }
    good = [s for s in shared if worse[s] >= ENOUGH]
    best = max(worse, key=worse.get)
    return [f"{good[0]:g} to {good[-1]:g}" if good else "none", f"{best:g}", kept[best], reached[best]]


def _share(value, none, all_of_it) -> float:
    span = all_of_it.mean - none.mean
    return (value.mean - none.mean) / span if span > 0 else 0.0


def draw(results: Results) -> None:
    by = "group" if "group" in results.varying else None
    figure, [[left, middle, right]] = plots.new_figure(1, 3, width=4.0, height=3.2)
    plots.draw_curve(left, results, KEPT, by=by, lines=False)
    plots.draw_curve(middle, results, REACHED, by=by, lines=False)
    plots.draw_path(right, results, KEPT, REACHED, by=by)
    plots.legend(figure, left)
    plots.save(figure, results.folder / "figure")
