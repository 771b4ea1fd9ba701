"""Pictures for the page: what they show, and what they do not tell."""

import base64
import io
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from img2img_jax.reports.pictures import data_uri, input_picture, output_picture

HELPERS = SimpleNamespace(**runpy.run_path(Path(__file__).parent / "conftest.py"))


def decoded(uri):
    kind, _, text = uri.partition(";base64,")
    assert kind == "data:image/webp"
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_small_pictures_are_exact_and_large_ones_shrunk():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    assert (np.asarray(decoded(data_uri(Image.fromarray(pixels), 200))) == pixels).all()
    assert decoded(data_uri(Image.new("RGB", (1000, 500)), 200)).size == (200, 100)


def test_metadata_stays_out_of_the_page(workdir):
    row = next(row for row in HELPERS.rows_of(workdir) if "output" in row)
    with Image.open(workdir / row["output"]) as picture:
        assert "img2img" in picture.text
        found = decoded(data_uri(picture.convert("RGB"), 100))
    assert set(found.info) <= {"loop", "background", "timestamp", "duration"}


@pytest.mark.parametrize("name", [None, "images/none.png", "../in/p0.png", "/etc/hostname", "config.json"])
def test_files_that_are_gone_or_elsewhere_or_no_pictures_are_not_shown(workdir, name):
    assert output_picture(workdir, {"output": name}) is None


def test_the_input_is_found_at_strength_0_or_where_it_was(tmp_path):
    folder = HELPERS.HELPERS.fill(tmp_path / "in", count=1)
    workdir = HELPERS.make_run(folder, tmp_path / "run", strengths=[0.5, 0], seeds=[0])
    rows = [row for row in HELPERS.rows_of(workdir) if "output" in row]
    expected = np.asarray(Image.open(folder / "p0.png").convert("RGB"))
    half = [row for row in rows if row["strength"] == 0.5]
    assert (np.asarray(input_picture(workdir, half)) == expected).all()
    Image.new("RGB", (16, 16)).save(folder / "p0.png")
    assert input_picture(workdir, half) is None  # no longer the picture it was
    shutil.rmtree(folder)
    assert input_picture(workdir, half) is None
    assert (np.asarray(input_picture(workdir, rows)) == expected).all()
