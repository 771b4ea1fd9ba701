"""Strokes have few colours and no details, and nothing about them is random."""

import numpy as np
import pytest
from PIL import Image

from img2img_jax.data.strokes import strokes


@pytest.fixture
def picture():
    """Two smooth halves, a line of 3 pixels across them, and speckles."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :32, 0] = np.linspace(100, 200, 64)[:, None]
    pixels[:, 32:, 2] = 180
    pixels[30:33] = 255
    pixels[::9, ::9] = (0, 255, 0)
    return Image.fromarray(pixels)


def test_few_colours_and_no_details(picture):
    made = np.asarray(strokes(picture, filter_size=9))
    assert made.shape == (64, 64, 3)
    assert 2 <= len(np.unique(made.reshape(-1, 3), axis=0)) <= 6
    assert made[..., 1].max() < 100  # neither speckles nor the white line
    assert made[32, 8, 0] > 80 and made[32, 56, 2] > 120  # but both halves
    assert len(np.unique(np.asarray(strokes(picture, filter_size=9, colours=2)).reshape(-1, 3), axis=0)) == 2


def test_a_wider_filter_keeps_less(picture):
    def whites(size):
        return (np.asarray(strokes(picture, filter_size=size)).min(-1) > 200).sum()

    assert whites(3) > whites(9) == 0


def test_the_same_every_time(picture):
    assert strokes(picture).tobytes() == strokes(picture).tobytes()


@pytest.mark.parametrize("given", [dict(filter_size=4), dict(filter_size=-1), dict(colours=0), dict(colours=300)])
def test_nonsense_is_refused(picture, given):
    with pytest.raises(ValueError, match=f"{next(iter(given))}={next(iter(given.values()))}"):
        strokes(picture, **given)
