"""Edges where they can be worked out by hand; parity with scikit-image is in tests/parity."""

import numpy as np
import pytest

from img2img_jax.metrics.canny import canny


def square(contrast=1.0):
    images = np.full((1, 24, 24, 3), 0.5, np.float32)
    images[:, 8:16, 8:16] += contrast / 2
    return images


def test_the_outline_of_a_square():
    edges = np.asarray(canny(square()))[0]
    rows, columns = np.nonzero(edges)
    assert edges.sum() >= 4 * 6
    assert {rows.min(), columns.min()} <= {7, 8} and {rows.max(), columns.max()} <= {15, 16}
    assert not edges[10:14, 10:14].any()


def test_flat_and_faint_pictures_have_no_edges():
    assert not canny(square(0)).any()
    assert not canny(square(0.02)).any()
    assert canny(square(0.02), low=0.01, high=0.02).any()


def test_a_strong_edge_carries_the_weak_one_it_is_linked_to():
    """A bar whose contrast fades along its length, beside a bar that is faint throughout."""
    images = np.zeros((1, 40, 60, 3), np.float32)
    images[:, 8:14] = np.linspace(0.2, 0.05, 60)[None, None, :, None]
    images[:, 26:32] = 0.05
    edges = np.asarray(canny(images, low=0.1, high=0.3))[0]
    assert edges[5:17, 45].any() and not edges[22:36, 10:50].any()
    assert np.asarray(canny(images, low=0.1, high=0.1))[0][22:36, 10:50].any()


def test_smoothing_removes_specks():
    images = np.zeros((1, 24, 24, 3), np.float32)
    images[:, 12, 12] = 0.5
    assert canny(images).any() and not canny(images, sigma=4.0).any()


@pytest.mark.parametrize("channel", range(3))
def test_all_channels_count(channel):
    images = np.zeros((1, 24, 24, 3), np.float32)
    images[:, :, 8:, channel] = 1
    assert canny(images, high=0.15).any()
