"""The laws of metrics, for every one of them."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img_jax.checkpoints import EMBEDDED_MODEL
from img2img_jax.metrics import METRICS
from img2img_jax.metrics.ms_ssim import SMALLEST, ms_ssim

NOISE = np.float32([0, 0.02, 0.05, 0.1, 0.2, 0.4])
FIDELITY = [name for name, metric in METRICS.items() if "prompt" not in metric.inputs]


def batch(side):
    """The demo picture as often as there are levels, and beside it with ever more of one and the same noise."""
    picture = Image.open(EMBEDDED_MODEL.with_name("demo") / "picture.png").convert("RGB").resize((side, side))
    source = np.repeat(np.asarray(picture, np.float32)[None] / 255, len(NOISE), axis=0)
    noise = np.random.default_rng(1).standard_normal(source.shape[1:], np.float32)
    output = np.clip(source + NOISE[:, None, None, None] * noise, 0, 1)
    mask = np.zeros((len(NOISE), side, side), bool)
    mask[:, : side // 2] = True
    latents = np.zeros((len(NOISE), 4, 4, 4), np.float32)
    return dict(
        source=source,
        output=output,
        prompt=[*"abcdef"],
        source_prompt=[*"uvwxyz"],
        source_latents=latents,
        output_latents=latents + NOISE[:, None, None, None],
        mask=mask,
    )


def swapped(inputs):
    """The way back."""
    other = {"source": "output", "output": "source"}
    return {re.sub("source|output", lambda m: other[m[0]], k): v for k, v in inputs.items() if "prompt" not in k} | {
        "prompt": inputs["source_prompt"],
        "source_prompt": inputs["prompt"],
    }


class Runs:
    """Every metric of the batch, of the batch turned round, and of its sample 3 alone."""

    def __init__(self, evaluator):
        inputs = batch(64)
        one = {name: values[3:4] for name, values in inputs.items()}
        self.there, self.back, self.alone = (evaluator(**each) for each in (inputs, swapped(inputs), one))


@pytest.fixture(scope="module")
def runs(evaluator):
    made = Runs(evaluator)
    # The only metric that needs larger pictures than the others here.
    large = batch(SMALLEST)
    pairs = (large["source"], large["output"]), (large["output"], large["source"])
    made.there["ms_ssim"], made.back["ms_ssim"] = (ms_ssim(*pair) for pair in pairs)
    made.alone["ms_ssim"] = ms_ssim(*(images[3:4] for images in pairs[0]))
    return made


def test_every_metric_is_computed(runs):
    assert set(runs.there) == set(METRICS)
    assert all(values.shape == (len(NOISE),) and values.dtype == np.float32 for values in runs.there.values())


@pytest.mark.parametrize("name", METRICS)
def test_values_are_in_range(runs, name):
    metric, values = METRICS[name], np.asarray(runs.there[name])
    assert (values >= metric.low - 1e-6).all() and (values <= metric.high + 1e-6).all()


@pytest.mark.parametrize("name", FIDELITY)
def test_equal_pictures_give_the_best_value(runs, name):
    first, best = float(runs.there[name][0]), METRICS[name].best
    assert first == best or first == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in METRICS if "source" in str(METRICS[name].inputs)])
def test_order_does_not_matter(runs, name):
    np.testing.assert_allclose(runs.there[name], runs.back[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FIDELITY)
def test_more_noise_is_worse(runs, name):
    steps = np.diff(np.asarray(runs.there[name]))
    assert ((steps > 0) if METRICS[name].better == "lower" else (steps < 0)).all()


@pytest.mark.parametrize("name", METRICS)
def test_a_batch_equals_its_samples(runs, name):
    np.testing.assert_allclose(runs.alone[name], runs.there[name][3:4], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_entries_are_complete(name):
    metric = METRICS[name]
    assert metric.name == name and metric.measures and metric.reference
    assert metric.low < metric.high and math.isfinite(metric.low)


def test_the_document_says_the_same():
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    table = {row[0].strip("`"): row for row in rows}
    for name, metric in METRICS.items():
        assert table[name][1:4] == [metric.measures, metric.range_text, metric.better], name
        assert table[name][5] == metric.reference, name
