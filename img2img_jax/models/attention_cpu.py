"""Attention on a CPU: one head and one block of queries at a time, so that scores never leave the cache.

XLA's CPU backend writes the scores of all heads to memory before it takes their softmax; docs/performance.md has the
figures.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

LEAST_SCORES = 2**12
"""Scores of a head from which the loop is the faster way."""

QUERIES = 512
"""Queries in a block: 4096 keys make 8 MiB of scores of them."""


def suits(q: Float[Array, "b n heads d"], k: Float[Array, "b m heads d"]) -> bool:
    """Whether the loop is the faster way for these shapes."""
    return q.dtype == jnp.float32 and q.shape[1] * k.shape[1] >= LEAST_SCORES


def attention_by_head(
    q: Float[Array, "b n heads d"], k: Float[Array, "b m heads d"], v: Float[Array, "b m heads d"]
) -> Float[Array, "b n heads d"]:
    """Scaled dot-product attention (Vaswani et al. 1706.03762, eq. 1) by loops over samples, heads and queries."""
    b, n, heads, d = q.shape
    blocks = -(-n // QUERIES)
    size = -(-n // blocks)
    # The last block is moved back to end with the queries; what it shares with the one before is computed twice.
    starts = jnp.minimum(jnp.arange(blocks) * size, n - size)
    q = q * d**-0.5

    def one_head(out: Array, place: Array) -> tuple[Array, None]:
        sample, head = place // heads, place % heads
        keys, values = (
            lax.dynamic_slice(t, (sample, 0, head, 0), (1, t.shape[1], 1, d)).reshape(-1, d) for t in (k, v)
        )

        def one_block(out: Array, start: Array) -> tuple[Array, None]:
            at = (sample, start, head, 0)
            queries = lax.dynamic_slice(q, at, (1, size, 1, d)).reshape(size, d)
            scores = queries @ keys.T
            weights = jnp.exp(scores - scores.max(-1, keepdims=True))
            mean = weights @ values / weights.sum(-1, keepdims=True)
            return lax.dynamic_update_slice(out, mean[None, :, None], at), None

        return lax.scan(one_block, out, starts)[0], None

    # All of it is overwritten. Zeros would be made first, of all layers, and held: they depend on nothing.
    return lax.scan(one_head, q, jnp.arange(b * heads))[0]
