"""Inputs keep their groups, and strokes are painted into the work directory."""

import numpy as np
import pytest
from PIL import Image

from img2img_jax.lab import experiment_config
from img2img_jax.lab.gather import gather_inputs


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "ab":
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "c.png").write_bytes(b"broken")
    return str(folder)


def test_strokes_and_pictures(folder, tmp_path):
    config = experiment_config("x", "", dict(inputs={"as given": folder}, strokes={"strokes": folder}, max_inputs=2))
    found = gather_inputs(config, tmp_path / "w")
    assert [(item.path.name, item.group) for item in found] == [
        *(("a.png", "as given"), ("b.png", "as given"), ("a.png", "strokes"), ("b.png", "strokes")),
    ]
    painted = np.asarray(Image.open(found[2].path))
    assert found[2].path.is_relative_to(tmp_path / "w") and len(np.unique(painted.reshape(-1, 3), axis=0)) <= 6
    assert found[2].reference == found[0].path
    before = found[2].path.read_bytes()
    assert gather_inputs(config, tmp_path / "w")[2].path.read_bytes() == before


def test_a_single_group_has_no_name_and_broken_pictures_are_left_to_the_plan(folder, tmp_path):
    config = experiment_config("x", "", dict(strokes={"strokes": folder}))
    found = gather_inputs(config, tmp_path)
    assert {item.group for item in found} == {None} and found[2].path.read_bytes() == b"broken"


@pytest.mark.parametrize("changes", [{}, dict(strokes={"strokes": ""})])
def test_no_inputs_at_all(changes, tmp_path):
    with pytest.raises(ValueError, match="give --data"):
        gather_inputs(experiment_config("x", "", changes), tmp_path)
