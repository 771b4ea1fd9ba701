"""Edges kept, lost and new, counted by hand."""

import numpy as np
import pytest

from img2img_jax.metrics.edge_f1 import edge_f1


def lines(*rows):
    edges = np.zeros((1, 32, 32), bool)
    edges[:, list(rows), 4:28] = True
    return edges


@pytest.mark.parametrize(
    ("source", "output", "value"),
    [
        (lines(8), lines(8), 1),
        (lines(8), lines(9), 1),  # a pixel off is within the tolerance: 0.008 x 45 pixels, rounded up
        (lines(8), lines(10), 0),
        (lines(8, 20), lines(8), 2 / 3),  # half is lost
        (lines(8), lines(8, 16, 24), 1 / 2),  # two of three are new
        (lines(), lines(8), 0),
        (lines(8), lines(), 0),
        (lines(), lines(), 1),
    ],
)
def test_counts(source, output, value):
    assert float(edge_f1(source, output)[0]) == pytest.approx(value)


def test_tolerance_is_a_share_of_the_diagonal():
    assert float(edge_f1(lines(8), lines(13), tolerance=4.9 / 32 / 2**0.5)[0]) == 1
    assert float(edge_f1(lines(8), lines(14), tolerance=4.9 / 32 / 2**0.5)[0]) == 0
