"""File names are decided beforehand, are distinct, and hit no input."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img_jax.inputs import Input
from img2img_jax.outputs import ROWS_PER_SHEET, Sheet, plan_outputs
from img2img_jax.sweep import Result, Sample


def _inputs(*names):
    return [Input(path=Path(name), prompt="p") for name in names]


def test_one_picture_goes_to_the_file_or_into_the_folder():
    one = _inputs("in/a.png")
    assert plan_outputs(Path("x/o.png"), one, [0.5], [0]).path(one[0].path, 0.5, 0) == Path("x/o.png")
    folder = plan_outputs(Path("x/o"), one, [0.5], [3])
    assert folder.path(one[0].path, 0.5, 3) == Path("x/o/a_strength0.5_seed3.png")
    assert folder.sheet is None


@pytest.mark.parametrize("output, sheet", [("o", "o/contact_sheet.png"), ("o.png", "o.png")])
def test_several_pictures_go_into_the_folder_with_a_sheet(output, sheet):
    one = _inputs("a.jpg")
    plan = plan_outputs(Path(output), one, [0.2, 0.5], [0])
    assert plan.sheet == Path(sheet)
    assert plan.path(one[0].path, 0.2, 0) == Path("o/a_strength0.2_seed0.png")


def test_names_are_distinct():
    inputs = _inputs("a.png", "a.jpg", "b.png", "x/c.png", "y/c.png")
    strengths, seeds = [0.1, 0.10000001, 1.0], [0, 1]
    plan = plan_outputs(Path("o"), inputs, strengths, seeds)
    names = {plan.path(i.path, s, seed) for i in inputs for s in strengths for seed in seeds}
    assert len(names) == len(inputs) * len(strengths) * len(seeds)
    assert plan.path(Path("b.png"), 1.0, 0).name == "b_strength1_seed0.png"


def test_inputs_are_safe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="overwrite the input a.png"):
        plan_outputs(tmp_path / "a.png", _inputs("a.png"), [0.5], [0])
    with pytest.raises(ValueError, match="overwrite the input"):
        plan_outputs(Path("a.png"), _inputs("a.png"), [0.5, 0.6], [0])
    with pytest.raises(ValueError, match="folder of the inputs"):
        plan_outputs(Path("in"), _inputs("in/a.png", "in/b.png"), [0.5], [0])


@pytest.mark.parametrize("name", ["o.jpg", "o.WEBP"])
def test_only_png(name):
    with pytest.raises(ValueError, match="written as PNG"):
        plan_outputs(Path(name), _inputs("a.png"), [0.5], [0])


def _result(name, strength, color, seed=0):
    pixels = np.zeros((8, 8, 3), np.uint8)
    sample = Sample(image=Path(name), image_sha256="0", pixels=pixels, prompt="p " * 500, strength=strength, seed=seed)
    return Result(sample=sample, picture=Image.new("RGB", (8, 8), color), parameters=None)


def test_sheet_has_the_order_of_inputs_and_strengths_whatever_the_order_of_arrival(tmp_path):
    sheet = Sheet([Path("b"), Path("a")], [0.9, 0.1], "title")
    for name, strength, color in [("a", 0.9, "red"), ("b", 0.9, "blue"), ("a", 0.1, "lime"), ("b", 0.1, "aqua")]:
        sheet.add(_result(name, strength, color))
    assert sheet.write(tmp_path / "s.png") == [tmp_path / "s.png"]
    pixels = np.asarray(Image.open(tmp_path / "s.png"))

    def corner(color):
        y, x = np.nonzero((pixels == color).all(-1))
        assert len(x) == 64
        return y.min(), x.min()

    lime, red, aqua, blue = (corner(c) for c in [(0, 255, 0), (255, 0, 0), (0, 255, 255), (0, 0, 255)])
    assert aqua[0] == blue[0] < lime[0] == red[0] and lime[1] == aqua[1] < red[1] == blue[1]


def test_many_rows_make_several_sheets(tmp_path):
    sheet = Sheet([Path("a")], [0.5], "")
    for seed in range(ROWS_PER_SHEET + 1):
        sheet.add(_result("a", 0.5, "red", seed))
    assert sheet.write(tmp_path / "s.png") == [tmp_path / "s.png", tmp_path / "s_2.png"]
    assert Image.open(tmp_path / "s.png").height > 5 * Image.open(tmp_path / "s_2.png").height


def test_a_sheet_is_whole_or_not_there(tmp_path, monkeypatch):
    sheet, path = Sheet([Path("a")], [0.5], ""), tmp_path / "s.png"
    sheet.add(_result("a", 0.5, "red"))
    path.write_bytes(b"an earlier one")

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        sheet.write(path)
    assert path.read_bytes() == b"an earlier one" and list(tmp_path.iterdir()) == [path]


def test_strengths_of_their_own_share_one_column(tmp_path):
    def width(one_column):
        sheet = Sheet([Path("a"), Path("b")], [0.1, 0.9], "", one_column=one_column)
        for name, strength, color in [("a", 0.1, "red"), ("b", 0.9, "blue")]:
            sheet.add(_result(name, strength, color))
        sheet.write(tmp_path / "s.png")
        pixels = np.asarray(Image.open(tmp_path / "s.png"))
        return [np.nonzero((pixels == color).all(-1))[1].min() for color in [(255, 0, 0), (0, 0, 255)]]

    assert np.diff(width(True)) == 0 < np.diff(width(False))
