"""Attention on TPUs, where the scores of all heads and samples do not fit the vector memory together.

What XLA makes of the plain formula then writes the scores to the main memory, and the weights again. Two ways here
keep them out of it: a flash kernel, and the two products in blocks. docs/tpu.md has what the compiler expects of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from img2img_jax.parallel import TENSOR, batch_axes

VECTOR_MEMORY = 2**27
"""Bytes of vector memory of a v5e or v6e core. Scores that fit never leave it, and the plain formula does as well."""

LANES = 128
"""Columns of a tile. Narrower heads are padded to it in memory and in the matrix unit: 40 columns cost what 128 do."""

BLOCK = 2**20
"""Most bytes of a block of queries or keys, of which the kernel holds several in 16 MiB: the VAE's head is 512 wide."""

FEWEST_KEYS = 1024
"""Fewest keys for the kernel: among the 77 of a prompt there is nothing to go through block by block."""


def is_long(q: Float[Array, "b n heads d"], k: Float[Array, "b m heads d"]) -> bool:
    """Whether attention is worth more than the plain formula here: many keys, and scores beyond ``VECTOR_MEMORY``."""
    b, n, heads, _ = q.shape
    return k.shape[1] >= FEWEST_KEYS and 4 * b * heads * n * k.shape[1] > VECTOR_MEMORY


def flash(
    q: Float[Array, "b n heads d"], k: Float[Array, "b m heads d"], v: Float[Array, "b m heads d"]
) -> Float[Array, "b n heads d"]:
    """Attention that never holds all scores (Dao et al. 2205.14135), by the Pallas kernel that comes with JAX.

    Lengths are padded to whole blocks, and what is padded is masked; heads wider than ``LANES`` are padded to a
    multiple of it. Differentiable, once. Where axes of the mesh are left to the compiler, which cannot split a kernel,
    every device takes its samples and its heads; all of them, if they do not divide.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.auto_axes:
        return _flash(q, k, v)

    def split(size: int, axes: Sequence[str]) -> tuple[str, ...] | None:
        axes = tuple(axis for axis in axes if axis in mesh.auto_axes)
        return axes if axes and size % math.prod(mesh.shape[axis] for axis in axes) == 0 else None

    spec = PartitionSpec(split(q.shape[0], batch_axes(mesh)), None, split(q.shape[2], (TENSOR,)))
    on_each = jax.shard_map(_flash, in_specs=spec, out_specs=spec, axis_names=set(mesh.auto_axes), check_vma=False)
    return on_each(q, k, v)


def _flash(q: Array, k: Array, v: Array) -> Array:
    # Pallas loads when it is used: it takes longer than the rest of this package.
    from jax.experimental.pallas.ops.tpu import flash_attention as kernel

    n, m, d = q.shape[1], k.shape[1], q.shape[-1]
    width = d if d <= LANES else -(-d // LANES) * LANES
    longest = BLOCK // (max(width, LANES) * q.dtype.itemsize)
    block_q, block_k = _block(n, longest), _block(m, longest)
    q, k, v = (
        _padded(x, -(-x.shape[1] // block) * block, width) for x, block in ((q, block_q), (k, block_k), (v, block_k))
    )
    sizes = kernel.BlockSizes(
        block_b=1,
        **dict.fromkeys(("block_q", "block_q_major_dkv", "block_q_dkv", "block_q_dq"), block_q),
        **dict.fromkeys(
            ("block_k_major", "block_k", "block_k_major_dkv", "block_k_dkv", "block_k_major_dq", "block_k_dq"), block_k
        ),
    )
    segments = None
    if (q.shape[2], k.shape[2]) != (n, m):
        segments = kernel.SegmentIds(q=_segments(q, n), kv=_segments(k, m))
    out = kernel.flash_attention(q, k, v, segment_ids=segments, sm_scale=d**-0.5, block_sizes=sizes)
    return jnp.moveaxis(out[:, :, :n, :d], 1, 2)


def _block(length: int, longest: int) -> int:
    """The longest block that pads a sequence by no more than the shortest would."""
    whole = -(-length // LANES) * LANES
    return next(size for size in (1024, 512, 256, LANES) if size == LANES or size <= longest and whole % size == 0)


def _padded(x: Float[Array, "b n heads d"], length: int, width: int) -> Float[Array, "b heads length width"]:
    x = jnp.moveaxis(x, 1, 2)
    return jnp.pad(x, ((0, 0), (0, 0), (0, length - x.shape[2]), (0, width - x.shape[3])))


def _segments(x: Float[Array, "b heads length d"], real: int) -> Array:
    """[b, length]: 1 for what is real, 0 for padding, which attend each to their own kind."""
    return jnp.broadcast_to((jnp.arange(x.shape[2]) < real).astype(jnp.int32), (x.shape[0], x.shape[2]))


def dot_product(
    q: Float[Array, "b n heads d"], k: Float[Array, "b m heads d"], v: Float[Array, "b m heads d"]
) -> Float[Array, "b n heads d"]:
    """Attention by two products, so many queries at a time that their weights stay in the vector memory.

    Weights are divided by their sum after the second product, and so are of v's dtype where they wait for it. Scores
    and sums are float32. Written out block after block and not as a loop, of which the compiler would price one turn.
    """
    resident = 3 * VECTOR_MEMORY // 4 // v.dtype.itemsize
    size = LANES * max(resident // (LANES * k.shape[0] * k.shape[1] * k.shape[2]), 1)
    blocks = [_dot_product(q[:, start : start + size], k, v) for start in range(0, q.shape[1], size)]
    return jnp.concatenate(blocks, axis=1)


def _dot_product(q: Array, k: Array, v: Array) -> Array:
    scores = jnp.einsum("bnhd,bmhd->bhnm", q * q.shape[-1] ** -0.5, k, preferred_element_type=jnp.float32)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    out = jnp.einsum("bhnm,bmhd->bnhd", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
    return (out / jnp.moveaxis(weights.sum(-1), 1, 2)[..., None]).astype(v.dtype)
