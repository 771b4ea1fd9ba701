"""Tests of img2img_jax.data.augment."""

from dataclasses import replace

import numpy as np
import pytest

from img2img_jax.data import colours
from img2img_jax.data.augment import Augmentation, affine, flip, flippable, hue_shift, softened, traced
from img2img_jax.data.colours import HUES, PALETTE


@pytest.fixture
def picture():
    """A shaded red disc with a green leaf, a black stem and a grey base on white, 64x64."""
    y, x = np.mgrid[:64, :64]
    image = np.full((64, 64, 3), 255, np.uint8)
    disc = (x - 32) ** 2 + (y - 34) ** 2 < 22**2
    shade = (1.1 - 0.5 * y / 64)[..., None] * np.array([225, 40, 40])
    image[disc] = np.clip(shade, 0, 255).astype(np.uint8)[disc]
    image[4:10, 34:44] = (60, 170, 70)
    image[8:14, 30:34] = (20, 20, 20)
    image[58:62, 20:44] = (150, 150, 150)
    return image


@pytest.mark.parametrize("word", HUES)
def test_hue_shift_gives_the_named_colour(picture, word):
    body = hue_shift(picture, word)[20:50, 20:44]
    found = colours.dominant(body, np.ones(body.shape[:2], bool))
    assert found.word == word
    assert colours.hue_distance(found.hue, colours.hue(colours.reference(word))) < 12


@pytest.mark.parametrize("word", ["black", "white", "grey"])
def test_hue_shift_takes_the_colour_out(picture, word):
    body = hue_shift(picture, word)[30:40, 24:40]
    lab = colours.to_oklab(body)
    assert colours.chroma(lab).max() < 0.03
    assert abs(lab[..., 0].mean() - colours.reference(word)[0]) < 0.15


@pytest.mark.parametrize("word", PALETTE)
def test_hue_shift_leaves_other_colours_alone(picture, word):
    shifted = hue_shift(picture, word)
    for rows, columns in ((slice(5, 8), slice(36, 42)), (slice(9, 12), slice(31, 33)), (slice(59, 61), slice(22, 42))):
        np.testing.assert_array_equal(shifted[rows, columns], picture[rows, columns])
    np.testing.assert_array_equal(shifted[:3], picture[:3])


def test_hue_shift_keeps_the_shading(picture):
    before = colours.to_oklab(picture)[16:54, 32, 0]
    after = colours.to_oklab(hue_shift(picture, "blue"))[16:54, 32, 0]
    assert np.corrcoef(before, after)[0, 1] > 0.98
    assert np.ptp(after) > 0.5 * np.ptp(before)


def test_hue_shift_of_a_named_source(picture):
    shifted = hue_shift(picture, "blue", source_hue=145.0)
    np.testing.assert_array_equal(shifted[30:40, 24:40], picture[30:40, 24:40])
    assert shifted[6, 39, 2] > shifted[6, 39, 1]


def test_hue_shift_of_a_grey_picture_changes_nothing():
    image = np.full((8, 8, 3), 120, np.uint8)
    np.testing.assert_array_equal(hue_shift(image, "red"), image)


def test_hue_shift_refuses_other_words(picture):
    with pytest.raises(ValueError, match="'teal' is not in the palette"):
        hue_shift(picture, "teal")


def test_flip_twice_is_nothing(picture):
    assert not np.array_equal(flip(picture), picture)
    np.testing.assert_array_equal(flip(flip(picture)), picture)


@pytest.mark.parametrize(
    ("change", "expected"),
    [({}, True), ({"name": "left arrow"}, False), ({"group": "Symbols"}, False), ({"name": "orange book"}, False)],
)
def test_flippable(apple, change, expected):
    assert flippable(replace(apple, **change)) is expected


def _centre(image):
    dark = image[..., 1] < 128
    y, x = np.nonzero(dark)
    return x.mean(), y.mean(), dark.sum()


def test_affine_moves_right_and_down():
    image = np.full((64, 64, 3), 255, np.uint8)
    image[24:40, 24:40] = 0
    x, y, area = _centre(affine(image, shift=(0.125, 0.25)))
    assert (x, y) == pytest.approx((31.5 + 8, 31.5 + 16), abs=0.1) and area == 256
    x, y, area = _centre(affine(image, scale=1.5))
    assert (x, y) == pytest.approx((31.5, 31.5), abs=0.1) and area == pytest.approx(256 * 2.25, rel=0.05)


def test_affine_turns_anticlockwise_and_fills_white():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 255
    turned = affine(image, degrees=90)
    assert turned[50, 32, 0] == 0 and turned[10, 32, 0] == 255
    assert (affine(image, shift=(0.5, 0.0))[:, :30] == 255).all()


def test_affine_without_a_move_is_nothing(picture):
    np.testing.assert_array_equal(affine(picture), picture)


def test_augmentation_tells_the_new_colour(picture, apple):
    always = Augmentation(recolour=1.0, flip=0.0, move=0.0)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        image, colour = always(picture, apple, rng)
        seen.add(colour)
        np.testing.assert_array_equal(image, hue_shift(picture, colour, apple.hue))
    assert seen == set(PALETTE) - {"red"}


def test_augmentation_can_do_nothing(picture, apple):
    image, colour = Augmentation(recolour=0, flip=0, move=0)(picture, apple, np.random.default_rng(0))
    assert image is picture and colour is None
    image, colour = Augmentation(recolour=1, flip=0, move=0)(
        picture, replace(apple, colour=None), np.random.default_rng(0)
    )
    assert image is picture and colour is None


def test_augmentation_is_repeatable(picture, apple):
    first, second = (Augmentation()(picture, apple, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1] == second[1] and first[0].shape == picture.shape


def test_softening_takes_edges_and_keeps_the_rest(picture, apple):
    blurred = softened(picture, 1.2).astype(float)
    assert np.abs(blurred - picture).max() > 40
    np.testing.assert_allclose(blurred.mean((0, 1)), picture.mean((0, 1)), atol=1)
    still = dict(recolour=0, flip=0, move=0)
    draws = [Augmentation(**still, soften=0.5)(picture, apple, np.random.default_rng(k))[0] for k in range(40)]
    assert 8 < sum((drawn != picture).any() for drawn in draws) < 32


def test_tracing_draws_lines_where_colours_meet_and_none_for_shades(picture):
    lines = traced(picture)
    assert set(np.unique(lines[30:40, 20:44])) == {255}, "inside the shaded disc nothing is drawn"
    assert lines[34, 9:12].min() == 0, "the disc's rim is black"
    assert (lines[..., 0] == lines[..., 2]).all()
    np.testing.assert_array_equal(traced(np.full((8, 8, 3), 200, np.uint8)), 255)
