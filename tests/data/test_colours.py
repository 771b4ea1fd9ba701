"""Tests of img2img_jax.data.colours."""

import numpy as np
import pytest

from img2img_jax.data import colours
from img2img_jax.data.colours import PALETTE, classify, dominant


def test_oklab_of_known_colours():
    # Reference values from the author's page on OKLab.
    lab = colours.to_oklab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], np.uint8))
    np.testing.assert_allclose(lab, [[1, 0, 0], [0, 0, 0], [0.628, 0.2249, 0.1258]], atol=2e-3)


def test_oklab_round_trip():
    rgb = np.random.default_rng(0).integers(0, 256, (500, 3), dtype=np.uint8)
    np.testing.assert_allclose(colours.from_oklab(colours.to_oklab(rgb)).astype(int), rgb, atol=1)


def test_every_reference_colour_is_classified_as_itself():
    found = [list(PALETTE)[classify(np.array(rgb, np.uint8))] for rgb in PALETTE.values()]
    assert found == list(PALETTE)


@pytest.mark.parametrize(
    ("rgb", "word"),
    [
        ((248, 49, 47), "red"),
        ((255, 176, 46), "yellow"),
        ((255, 105, 180), "pink"),
        ((101, 67, 33), "brown"),
        ((193, 105, 79), "brown"),
        ((0, 166, 237), "blue"),
        ((0, 210, 106), "green"),
        ((67, 59, 107), "black"),
        ((214, 200, 232), "grey"),
        ((226, 30, 88), "red"),
        ((153, 102, 204), "purple"),
        ((20, 20, 60), "black"),
    ],
)
def test_classify(rgb, word):
    assert list(PALETTE)[classify(np.array(rgb, np.uint8))] == word


def test_hue_distance_wraps():
    assert colours.hue_distance(350.0, 10.0) == 20
    assert colours.hue_distance(0.0, 180.0) == 180


def test_reference_refuses_other_words():
    with pytest.raises(ValueError, match="'mauve' is not in the palette.*red"):
        colours.reference("mauve")


def _stripes(*parts):
    """One row of pixels: (colour, count), ..."""
    return np.concatenate([np.tile(np.array(rgb, np.uint8), (count, 1)) for rgb, count in parts])[None]


def _dominant(*parts):
    image = _stripes(*parts)
    return dominant(image, np.ones(image.shape[:2], bool))


def test_dominant_names_the_largest_hue_and_measures_it():
    found = _dominant(((218, 38, 38), 60), ((66, 170, 70), 20), ((150, 150, 150), 20))
    assert found.word == "red" and found.share == 0.6
    assert found.coloured == 0.8 and found.concentration == 0.75
    assert abs(found.hue - 27) < 4


def test_a_hue_beats_more_grey_but_not_much_more():
    assert _dominant(((218, 38, 38), 40), ((150, 150, 150), 60)).word == "red"
    assert _dominant(((218, 38, 38), 20), ((150, 150, 150), 80)).word == "grey"


def test_no_word_without_a_clear_colour():
    found = _dominant(((218, 38, 38), 30), ((66, 170, 70), 25), ((45, 120, 222), 25), ((138, 78, 192), 20))
    assert found.word is None and found.share == 0.3


def test_a_clear_lead_earns_a_word_with_less():
    assert _dominant(((66, 170, 70), 36), ((44, 44, 46), 34), ((246, 246, 246), 30)).word == "green"


def test_a_gradient_astride_two_words_is_named_after_its_middle():
    found = _dominant(((247, 134, 28), 37), ((255, 176, 46), 38), ((44, 44, 46), 25))
    assert found.word in ("orange", "yellow") and found.share == 0.75


def test_grey_pictures_have_no_hue():
    found = _dominant(((44, 44, 46), 10))
    assert (found.word, found.hue, found.coloured, found.concentration) == ("black", None, 0.0, 0.0)


def test_an_empty_mask_has_no_colour():
    assert dominant(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), bool)).word is None
