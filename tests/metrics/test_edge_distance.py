"""How far lines have moved, measured by hand; distances against SciPy's."""

import numpy as np
import pytest
from scipy import ndimage

from img2img_jax.metrics.distance_transform import distance_to
from img2img_jax.metrics.edge_distance import edge_distance


def line(*rows):
    edges = np.zeros((1, 30, 40), bool)
    edges[:, list(rows), 5:35] = True
    return edges


@pytest.mark.parametrize("moved", [0, 1, 4, 12])
def test_a_line_that_moved(moved):
    assert float(edge_distance(line(10), line(10 + moved))[0]) == pytest.approx(moved / 50)


def test_a_second_line_counts_in_one_direction_only():
    assert float(edge_distance(line(10), line(10, 16))[0]) == pytest.approx((0 + 3) / 2 / 50)


def test_pictures_without_edges():
    assert float(edge_distance(line(), line())[0]) == 0
    assert float(edge_distance(line(), line(3))[0]) == float(edge_distance(line(3), line())[0]) == 1


def test_distance_transform_agrees_with_scipy():
    marked = np.random.default_rng(0).random((3, 17, 23)) > np.float32([0.9, 0.99, 0.5])[:, None, None]
    found = np.asarray(distance_to(marked))
    for one, distances in zip(marked, found, strict=True):
        np.testing.assert_allclose(distances, ndimage.distance_transform_edt(~one), atol=1e-5)


def test_distance_to_nothing_is_infinite():
    assert np.isinf(distance_to(np.zeros((1, 4, 5), bool))).all()
