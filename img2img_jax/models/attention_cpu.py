"""Attention on a CPU in parts whose scores stay in the cache: a sample, or one head of it and a block of queries.

XLA's CPU backend writes the scores of all heads and samples to memory before it takes their softmax;
docs/performance.md has the figures.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

LEAST_SCORES = 2**10
"""Scores of a head from which the loop is the faster way."""

MOST_SCORES = 2**20
"""Scores of a block of queries, in all heads of a sample, up to which the heads are worked on at once."""

QUERIES = 512
"""Queries in a block: 4096 keys make 8 MiB of scores of them."""


def suits(q: Float[Array, "b n heads d"], k: Float[Array, "b m heads d"]) -> bool:
    """Whether the loop is the faster way for these shapes."""
    return q.dtype == jnp.float32 and q.shape[1] * k.shape[1] >= LEAST_SCORES


def attention_in_parts(
    q: Float[Array, "b n heads d"], k: Float[Array, "b m heads d"], v: Float[Array, "b m heads d"]
) -> Float[Array, "b n heads d"]:
    """Scaled dot-product attention (Vaswani et al. 1706.03762, eq. 1) by loops over samples, heads and queries."""
    b, n, heads, d = q.shape
    blocks = -(-n // QUERIES)
    size = -(-n // blocks)
    at_once = heads if heads * size * k.shape[1] <= MOST_SCORES else 1
    # The last block is moved back to end with the queries; what it shares with the one before is computed twice.
    starts = jnp.minimum(jnp.arange(blocks) * size, n - size)
    q = q * d**-0.5

    def part(x: Array, at: tuple, length: int) -> Float[Array, "heads length d"]:
        return lax.dynamic_slice(x, at, (1, length, at_once, d))[0].swapaxes(0, 1)

    def some_heads(out: Array, place: Array) -> tuple[Array, None]:
        sample, head = place // (heads // at_once), place % (heads // at_once) * at_once
        keys, values = (part(t, (sample, 0, head, 0), t.shape[1]) for t in (k, v))

        def one_block(out: Array, start: Array) -> tuple[Array, None]:
            at = (sample, start, head, 0)
            scores = jnp.einsum("hnd,hmd->hnm", part(q, at, size), keys)
            weights = jnp.exp(scores - scores.max(-1, keepdims=True))
            mean = jnp.einsum("hnm,hmd->hnd", weights, values) / weights.sum(-1, keepdims=True)
            return lax.dynamic_update_slice(out, mean.swapaxes(0, 1)[None], at), None

        return lax.scan(one_block, out, starts)[0], None

    # All of it is overwritten. Zeros would be made first, of all layers, and held: they depend on nothing.
    return lax.scan(some_heads, q, jnp.arange(b * heads // at_once))[0]
