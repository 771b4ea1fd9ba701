"""Spearman's rank correlation against SciPy's."""

import numpy as np
import pytest
from scipy import stats

from img2img_jax.metrics import spearman


@pytest.mark.parametrize("values", [10, 4])
def test_agrees_with_scipy_with_and_without_ties(values):
    rng = np.random.default_rng(values)
    x, y = rng.integers(0, values, (2, 25)) if values == 4 else rng.standard_normal((2, 25))
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)


def test_only_order_counts():
    x = np.linspace(0, 1, 9)
    assert spearman(x, np.exp(5 * x)) == pytest.approx(1)
    assert spearman(x, -(x**3)) == pytest.approx(-1)
    assert spearman([0, 1, 2], [3, 5, np.inf]) == pytest.approx(1)


@pytest.mark.parametrize("pair", [([1], [1]), ([1, 2], [1]), ([1, 1], [1, 2]), ([1, np.nan], [1, 2])])
def test_what_has_no_rank_correlation_is_refused(pair):
    with pytest.raises(ValueError, match="rank correlation"):
        spearman(*pair)
