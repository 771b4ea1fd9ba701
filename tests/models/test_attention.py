"""Attention in blocks of queries is attention."""

import jax
import numpy as np
import pytest

from img2img_jax.models import attention as module


@pytest.mark.parametrize("queries", [12, 13])
def test_blocks_change_nothing(monkeypatch, queries):
    keys = jax.random.split(jax.random.key(0), 3)
    q, k, v = (jax.random.normal(key, (2, n, 3, 4)) for key, n in zip(keys, (queries, 7, 7), strict=True))
    whole = module._whole(q, k, v)
    monkeypatch.setattr(module, "WHOLE_SCORES", 50)
    monkeypatch.setattr(module, "BLOCK_SCORES", 5 * 2 * 3 * 7)
    monkeypatch.setattr(module, "BLOCK_QUERIES", 1)
    text = str(jax.make_jaxpr(module.attention)(q, k, v))
    assert "scan" in text and f"{queries},7]" not in text  # no matrix of all scores
    np.testing.assert_allclose(module.attention(q, k, v), whole, rtol=1e-5, atol=1e-6)
