"""CMMD against its definition, in float64."""

import numpy as np
import pytest

from img2img_jax.metrics.cmmd import cmmd


def reference(x, y, unbiased):
    def kernel(a, b):
        return np.exp(-np.square(a[:, None] - b[None]).sum(-1) / (2 * 10**2))

    xx, yy = kernel(x, x), kernel(y, y)
    if unbiased:
        means = [k[~np.eye(len(k), dtype=bool)].mean() for k in (xx, yy)]
    else:
        means = [k.mean() for k in (xx, yy)]
    return 1000 * (sum(means) - 2 * kernel(x, y).mean())


def sets(shift=1.0, rows=(10, 14)):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((n, 16)) for n in rows)
    y[:, 0] += shift
    return [features / np.linalg.norm(features, axis=1, keepdims=True) for features in (x, y)]


@pytest.mark.parametrize("unbiased", [True, False])
def test_agrees_with_the_definition(unbiased):
    x, y = sets()
    assert float(cmmd(x, y, unbiased=unbiased)) == pytest.approx(reference(x, y, unbiased), abs=1e-4)


def test_a_set_is_no_distance_from_itself():
    x, _ = sets()
    assert float(cmmd(x, x, unbiased=False)) == pytest.approx(0, abs=1e-5)


def test_symmetric_and_growing_with_the_shift():
    x, y = sets()
    assert float(cmmd(x, y)) == pytest.approx(float(cmmd(y, x)), abs=1e-5)
    values = [float(cmmd(*sets(shift, (40, 40)))) for shift in (0.5, 1, 2, 4)]
    assert values == sorted(values)


def test_sets_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="cmmd compares two sets"):
        cmmd(np.ones((3, 4)), np.ones((3, 5)))
