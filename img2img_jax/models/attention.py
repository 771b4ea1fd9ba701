"""Attention: the one seam all networks go through, and the text-conditioned transformer of the UNet."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.models import attention_cpu, attention_tpu
from img2img_jax.models.conv import conv
from img2img_jax.models.layers import GroupNorm, Identity, LayerNorm, gelu
from img2img_jax.models.on_cpu import on_cpu
from img2img_jax.types import DType

WHOLE_SCORES = 2**24
"""Most scores of a head that are computed at once: those of 64 by 64 latents, Stable Diffusion's 512 px, still are."""

BLOCK_SCORES, BLOCK_QUERIES = 2**23, 128
"""Scores of all heads and samples in a block of queries, and the least queries in it, which keep a matrix unit busy."""


def attention(
    q: Float[Array, "b n heads d"],
    k: Float[Array, "b m heads d"],
    v: Float[Array, "b m heads d"],
    bias: Float[Array, "n m"] | None = None,
    *,
    flash: bool = True,
) -> Float[Array, "b n heads d"]:
    """Scaled dot-product attention (Vaswani et al. 1706.03762, eq. 1); scores and softmax in float32.

    Above ``WHOLE_SCORES`` the queries are attended for in blocks, one after another, so that memory grows with
    the number of keys and not with its square (Rabe & Staats 2112.05682, without blocks of keys). On a CPU that is
    so whatever the number (``attention_cpu``). Compiled for a TPU, long attention goes the ways of ``attention_tpu``.

    Args:
      q, k, v: queries, keys and values, split into heads.
      bias: added to the scores; ``-inf`` where a query must not look.
      flash: whether a TPU is to take its flash kernel, and not the two products, where attention is long.
    """
    if bias is not None:
        return _whole(q, k, v, bias)
    plain = _in_blocks if q.shape[1] * k.shape[1] > WHOLE_SCORES else _whole
    portable = on_cpu(attention_cpu.attention_in_parts, plain) if attention_cpu.suits(q, k) else plain
    if not attention_tpu.is_long(q, k):
        return portable(q, k, v)
    # Which one is compiled is up to the platform compiled for, which need not be the one at hand.
    products = attention_tpu.dot_product if plain is _whole else plain
    return jax.lax.platform_dependent(q, k, v, tpu=attention_tpu.flash if flash else products, default=portable)


def _whole(q: Array, k: Array, v: Array, bias: Array | None = None) -> Array:
    scale = q.shape[-1] ** -0.5
    scores = jnp.einsum("bnhd,bmhd->bhnm", q * scale, k, preferred_element_type=jnp.float32)
    if bias is not None:
        scores = scores + bias
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("bhnm,bmhd->bnhd", weights, v)


def _in_blocks(q: Array, k: Array, v: Array) -> Array:
    b, m, heads, _ = k.shape
    size = max(BLOCK_SCORES // (b * heads * m), BLOCK_QUERIES)
    out = jax.lax.map(lambda query: _whole(query[:, None], k, v)[:, 0], jnp.moveaxis(q, 1, 0), batch_size=size)
    return jnp.moveaxis(out, 0, 1)


class Attention(nnx.Module):
    """Multi-head attention with diffusers' parameter names (``to_q``, ``to_k``, ``to_v``, ``to_out.0``).

    Attributes:
      flash: see ``attention``.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        context_dim: int | None = None,
        qkv_bias: bool = False,
        dtype: DType,
        param_dtype: DType,
        rngs: nnx.Rngs,
    ):
        if dim % heads:
            raise ValueError(f"{dim} channels cannot be split into {heads} attention heads")
        kw = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        self.heads, self.flash = heads, True
        self.to_q = nnx.Linear(dim, dim, use_bias=qkv_bias, **kw)
        self.to_k = nnx.Linear(context_dim or dim, dim, use_bias=qkv_bias, **kw)
        self.to_v = nnx.Linear(context_dim or dim, dim, use_bias=qkv_bias, **kw)
        self.to_out = nnx.List([nnx.Linear(dim, dim, **kw)])

    def _split(self, x: Float[Array, "b n c"]) -> Float[Array, "b n heads d"]:
        return x.reshape(*x.shape[:2], self.heads, -1)

    def __call__(self, x: Float[Array, "b n c"], context: Float[Array, "b m e"] | None = None) -> Float[Array, "b n c"]:
        context = x if context is None else context
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        out = attention(*map(self._split, (q, k, v)), flash=self.flash)
        return self.to_out[0](out.reshape(x.shape))


class GEGLU(nnx.Module):
    """Gated GELU (Shazeer 2002.05202); exact GELU as in PyTorch."""

    def __init__(self, dim: int, inner: int, **kw):
        self.proj = nnx.Linear(dim, 2 * inner, **kw)

    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n d"]:
        value, gate = jnp.split(self.proj(x), 2, axis=-1)
        return value * gelu(gate)


class FeedForward(nnx.Module):
    """GEGLU and a projection back; index 1 of ``net`` is the original's dropout."""

    def __init__(self, dim: int, **kw):
        self.net = nnx.List([GEGLU(dim, 4 * dim, **kw), Identity(), nnx.Linear(4 * dim, dim, **kw)])

    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        for layer in self.net:
            x = layer(x)
        return x


class BasicTransformerBlock(nnx.Module):
    """Self-attention, attention to the text, feed-forward; pre-norm with residuals."""

    def __init__(self, dim: int, heads: int, context_dim: int, **kw):
        norm_kw = dict(param_dtype=kw["param_dtype"], rngs=kw["rngs"])
        self.norm1 = LayerNorm(dim, **norm_kw)
        self.attn1 = Attention(dim, heads, **kw)
        self.norm2 = LayerNorm(dim, **norm_kw)
        self.attn2 = Attention(dim, heads, context_dim=context_dim, **kw)
        self.norm3 = LayerNorm(dim, **norm_kw)
        self.ff = FeedForward(dim, **kw)

    def __call__(self, x: Float[Array, "b n c"], context: Float[Array, "b m e"]) -> Float[Array, "b n c"]:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class Transformer2DModel(nnx.Module):
    """Transformer blocks over the pixels of a feature map (Rombach et al. 2112.10752, appendix).

    SD 1.x projects in and out with 1x1 convolutions, SD 2.x with linear layers: the same product, another shape of
    the weight in the file, hence ``use_linear_projection``.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        context_dim: int,
        *,
        layers: int,
        groups: int,
        use_linear_projection: bool,
        dtype: DType,
        param_dtype: DType,
        rngs: nnx.Rngs,
    ):
        kw = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        self.use_linear_projection = use_linear_projection
        self.norm = GroupNorm(groups, channels, 1e-6, param_dtype=param_dtype)
        self.proj_in = self._projection(channels, kw)
        self.transformer_blocks = nnx.List(
            [BasicTransformerBlock(channels, heads, context_dim, **kw) for _ in range(layers)]
        )
        self.proj_out = self._projection(channels, kw)

    def _projection(self, channels: int, kw: dict) -> nnx.Module:
        return nnx.Linear(channels, channels, **kw) if self.use_linear_projection else conv(channels, channels, 1, **kw)

    def __call__(self, x: Float[Array, "b h w c"], context: Float[Array, "b m e"]) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        tokens = self.proj_in(self.norm(x)).reshape(b, h * w, c)
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return x + self.proj_out(tokens.reshape(b, h, w, c))
