"""Tables and JSON say what the figures say."""

import json

from img2img_jax.aot.chip import CHIPS
from img2img_jax.aot.figures import Figures
from img2img_jax.aot.report import COLUMNS, as_json, as_markdown

V5E = CHIPS["v5e"]
HALF = Figures(
    stage="step",
    topology="v5e:4x4",
    resolution=512,
    samples=4,
    fits=True,
    arguments=2**30,
    temporaries=2**29,
    peak=3 * 2**29,
    flops=int(V5E.peak_flops / 200),
    cycles=int(V5E.clock / 100),
    optimal_seconds=0.0054,
    collectives={"all-reduce": (2, 64)},
)
REFUSED = Figures(
    stage="loop", topology="v5e:4x4", resolution=512, samples=99, fits=False, refusal="too large", flops=1
)


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_figure_has_its_column():
    heading, _, half, refused = as_markdown([HALF, REFUSED]).splitlines()
    assert tuple(cells(heading)) == COLUMNS
    assert cells(half) == [
        *("step", "4", "1.00", "0.50", "1.50", "yes", f"{HALF.flops / 1e12:.2f}", "5.4", "10.0", "50", "0"),
        "all-reduce: 2, 64",
    ]
    assert cells(refused)[5] == "no: too large" and len(cells(refused)) == len(COLUMNS)


def test_with_a_kernel_time_is_known_from_below():
    values = as_json([HALF])[0]
    with_kernel = Figures.from_dict(
        {name: values[name] for name in Figures.__dataclass_fields__} | dict(kernels=3, kernel_flops=HALF.flops)
    )
    assert abs(with_kernel.seconds - 0.015) < 1e-9
    assert cells(as_markdown([with_kernel]).splitlines()[2])[8:10] == ["at least 15.0", "at most 33"]


def test_json_gives_the_figures_back():
    values = json.loads(json.dumps(as_json([HALF, REFUSED])))
    assert [Figures.from_dict({name: v[name] for name in Figures.__dataclass_fields__}) for v in values] == [
        HALF,
        REFUSED,
    ]
    assert abs(values[0]["model_flop_use"] - 0.5) < 1e-6 and values[1]["seconds"] is None
