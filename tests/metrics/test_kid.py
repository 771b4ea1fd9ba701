"""KID against its definition, in float64 and with loops."""

import numpy as np
import pytest

from img2img_jax.metrics.kid import kid


def reference(x, y):
    def kernel(a, b):
        return (a @ b / len(a) + 1) ** 3

    m, n = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    yy = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return xx + yy - 2 * sum(kernel(a, b) for a in x for b in y) / (m * n)


def sets(shift=0.5, rows=12):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 8)), rng.standard_normal((rows, 8)) + shift


def test_agrees_with_the_definition():
    x, y = sets()
    found = kid(x, y)
    assert found.mean == pytest.approx(reference(x, y), rel=1e-4)
    assert found.std == 0


def test_subsets_average_to_the_whole():
    x, y = sets()
    found = kid(x, y, subsets=400, subset_size=6)
    assert found.mean == pytest.approx(kid(x, y).mean, abs=4 * found.std / 20)
    assert found.std > 0
    assert found == kid(x, y, subsets=400, subset_size=6) != kid(x, y, subsets=400, subset_size=6, seed=1)


def test_symmetric_and_growing_with_the_shift():
    x, y = sets()
    assert kid(x, y).mean == pytest.approx(kid(y, x).mean, rel=1e-4)
    values = [kid(*sets(shift, 200)).mean for shift in (0, 0.5, 1, 2)]
    assert values == sorted(values) and abs(values[0]) < 0.2 * values[1]


def test_small_differences_survive_float32():
    """Features so alike that the kernel is 1 but for the seventh digit."""
    x, y = (1e-3 * features for features in sets(3.0))
    assert kid(x, y).mean == pytest.approx(reference(x, y), rel=1e-3)


@pytest.mark.parametrize("shapes", [((1, 4), (5, 4)), ((5, 4), (5, 3)), ((5,), (5, 4))])
def test_sets_that_cannot_be_compared_are_refused(shapes):
    with pytest.raises(ValueError, match="kid compares two sets"):
        kid(*(np.ones(shape) for shape in shapes))


def test_subsets_must_be_sensible():
    with pytest.raises(ValueError, match="not 0 of 1000"):
        kid(*sets(), subsets=0)
