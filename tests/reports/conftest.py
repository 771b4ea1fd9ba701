"""Runs that no network made, in a work directory."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from img2img_jax.inputs import find_inputs
from img2img_jax.runs import make_plan, run

HELPERS = SimpleNamespace(**runpy.run_path(Path(__file__).parents[1] / "runs" / "conftest.py"))
STRENGTHS = [0.7, 0, 0.4, 1]
HOSTILE = {
    '"><img src=x onerror=document.title=1>.png': '</script><script>document.title="bad"</script>{{data}} <!--<script>',
    "l'été & <b>.png": "half a pair \ud83d, a line\u2028end, 'quotes' \"\" and \\u003c",
    "x" * 120 + ".png": "y" * 400,
}


def measure(source, output, **_):
    """Two metrics without a network; the second is infinite where the pictures are equal."""
    error = np.abs(source - output).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        return {"l1": error, "psnr": -20 * np.log10(error)}


def make_run(folder, workdir, **knobs):
    """A run over a folder of pictures, as `runs.run` leaves it."""
    knobs = dict(strengths=STRENGTHS, seeds=[0, 1], batch_size=4) | knobs
    plan = make_plan(find_inputs(folder), **knobs)
    made_with = dict(provenance=HELPERS.PROVENANCE, manifest=HELPERS.MANIFEST)
    run(HELPERS.Painter(), plan, workdir, evaluate=measure, **made_with)
    return workdir


def fill_hostile(folder):
    """Pictures whose names and prompts try to break out of a page."""
    folder.mkdir()
    for number, name in enumerate(HOSTILE):
        Image.new("RGB", (16, 16), (90 * number, 60, 120)).save(folder / name)
    lines = [json.dumps({"file_name": name, "prompt": prompt}) for name, prompt in HOSTILE.items()]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def rows_of(workdir):
    return [json.loads(line) for line in (workdir / "rows.jsonl").read_text().splitlines()]


def write_rows(workdir, rows):
    workdir.mkdir(exist_ok=True)
    (workdir / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
    """Five pictures at four strengths with two seeds, and three failures."""
    base = tmp_path_factory.mktemp("report")
    return make_run(HELPERS.fill(base / "in"), base / "run")


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    base = tmp_path_factory.mktemp("hostile")
    return make_run(fill_hostile(base / "in"), base / 'run "<i>"')
