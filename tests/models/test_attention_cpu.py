"""Attention head by head is attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from img2img_jax.models import attention as module
from img2img_jax.models import attention_cpu


def inputs(n, m, dtype=jnp.float32):
    return [
        jax.random.normal(jax.random.key(i), (2, length, 3, 4), dtype) for i, length in enumerate((n, m, m), start=1)
    ]


@pytest.mark.parametrize("most", [0, 10**9], ids=["one head", "all heads"])
@pytest.mark.parametrize("queries", [8, 9, 11])
def test_blocks_that_do_not_divide(monkeypatch, queries, most):
    monkeypatch.setattr(attention_cpu, "QUERIES", 4)
    monkeypatch.setattr(attention_cpu, "MOST_SCORES", most)
    q, k, v = inputs(queries, 7)
    wanted = module._whole(q, k, v)
    np.testing.assert_allclose(jax.jit(attention_cpu.attention_in_parts)(q, k, v), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("most", [0, 10**9], ids=["one head", "all heads"])
def test_more_layers_need_no_more_memory(monkeypatch, most):
    """No layer's result is made room for before the first has run."""
    monkeypatch.setattr(attention_cpu, "MOST_SCORES", most)

    def needed(layers):
        def through(x):
            for i in range(layers):
                x = attention_cpu.attention_in_parts(x, x + i, x - i)
            return x

        return jax.jit(through).lower(inputs(64, 64)[0]).compile().memory_analysis().temp_size_in_bytes

    assert needed(8) < 1.1 * needed(4)


def test_large_scores_do_not_overflow():
    q, k, v = inputs(8, 7)
    assert np.isfinite(attention_cpu.attention_in_parts(1e4 * q, k, v)).all()


def loops(function, *args):
    return "while" in jax.jit(function).lower(*args).as_text()


def test_taken_on_a_cpu_where_nothing_is_differentiated():
    q, k, v = inputs(64, 64)
    assert loops(module.attention, q, k, v)
    assert not loops(module.attention, *inputs(16, 63))
    assert not loops(module.attention, *inputs(64, 64, jnp.bfloat16))
    assert not loops(jax.grad(lambda q: module.attention(q, k, v).sum()), q)
    assert "while" not in jax.jit(module.attention).trace(q, k, v).lower(lowering_platforms=("tpu",)).as_text()


def test_derivatives():
    args = inputs(64, 64)
    found, wanted = (
        jax.grad(lambda *args, f=f: jnp.square(f(*args)).sum(), argnums=(0, 1, 2))(*args)
        for f in (module.attention, module._whole)
    )
    jax.tree.map(lambda f, w: np.testing.assert_allclose(f, w, rtol=1e-4, atol=1e-6), found, wanted)
