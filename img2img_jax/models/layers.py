"""Layers that more than one network uses."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from img2img_jax.models.conv import conv
from img2img_jax.types import DType


def gelu(x: Array) -> Array:
    """x Phi(x) (Hendrycks & Gimpel 1606.08415), computed in float32 as PyTorch does it.

    On a CPU erf takes four fifths of the time of the erfc in ``jax.nn.gelu``.
    """
    x32 = x.astype(jnp.float32)
    return (0.5 * x32 * (1 + jax.lax.erf(x32 * math.sqrt(0.5)))).astype(x.dtype)


def quick_gelu(x: Array) -> Array:
    """OpenAI CLIP's approximation of GELU."""
    return x * jax.nn.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "relu": jax.nn.relu,
    "gelu": gelu,
    "quick_gelu": quick_gelu,
}


def activation(name: str) -> Callable[[Array], Array]:
    """Looks an activation up by its configuration name.

    Raises:
      ValueError: unknown name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is not supported; known: {sorted(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _is_coarse(dtype: DType) -> bool:
    """Whether values are rounded so coarsely that a variance from the mean square, in float32, loses nothing to it."""
    return jnp.dtype(dtype) == jnp.bfloat16


class GroupNorm(nnx.Module):
    """Group normalisation (Wu & He, 1803.08494), statistics in float32, result in the input's dtype.

    The statistics are reduced per channel first and per group after, and applied as one multiply-add per element.

    Attributes:
      statistics: takes the place of ``measure`` where set: a function of this norm and its input.
    """

    def __init__(self, num_groups: int, channels: int, eps: float, *, param_dtype: DType = jnp.float32):
        if channels % num_groups:
            raise ValueError(f"{channels} channels cannot be split into norm_num_groups={num_groups}")
        self.num_groups, self.eps, self.statistics = num_groups, eps, None
        self.scale = nnx.Param(jnp.ones((channels,), param_dtype))
        self.bias = nnx.Param(jnp.zeros((channels,), param_dtype))

    def _per_group(self, per_channel: Float[Array, "b c"]) -> Float[Array, "b c"]:
        b, c = per_channel.shape
        grouped = per_channel.reshape(b, self.num_groups, -1).mean(-1)
        # Back to channels by a product: fused into the loop over pixels, a broadcast would divide there to find each
        # channel's group, and the loop would not be vectorised.
        member = jnp.arange(c) // (c // self.num_groups) == jnp.arange(self.num_groups)[:, None]
        return jnp.dot(grouped, member.astype(grouped.dtype), precision=jax.lax.Precision.HIGHEST)

    def measure(
        self, x: Float[Array, "b h w c"], where: Bool[Array, "h w"] | None = None, *, one_pass: bool = False
    ) -> tuple[Float[Array, "b c"], Float[Array, "b c"]]:
        """Mean and variance of each channel's group, over all pixels or those of ``where``.

        ``one_pass`` reads ``x`` once and takes the variance from its mean square, with a relative error that grows with
        the square of mean over deviation.
        """
        if where is not None:
            where = where[None, :, :, None]
        mean = self._per_group(x.mean((1, 2), where=where))
        if one_pass:
            square = self._per_group(jnp.square(x).mean((1, 2), where=where))
            return mean, jnp.maximum(square - jnp.square(mean), 0)
        return mean, self._per_group(jnp.square(x - mean[:, None, None]).mean((1, 2), where=where))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        x32 = x.astype(jnp.float32)
        if self.statistics is None:
            mean, var = self.measure(x32, one_pass=_is_coarse(x.dtype))
        else:
            mean, var = self.statistics(self, x32)
        gain = jax.lax.rsqrt(var + self.eps)[:, None, None] * self.scale[...].astype(jnp.float32)
        return ((x32 - mean[:, None, None]) * gain + self.bias[...].astype(jnp.float32)).astype(x.dtype)


class LayerNorm(nnx.LayerNorm):
    """Layer normalisation computed in float32, result in the input's dtype."""

    def __init__(self, features: int, eps: float = 1e-5, *, param_dtype: DType, rngs: nnx.Rngs):
        super().__init__(
            features,
            epsilon=eps,
            dtype=jnp.float32,
            param_dtype=param_dtype,
            use_fast_variance=_is_coarse(param_dtype),
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "... c"]) -> Float[Array, "... c"]:
        return super().__call__(x).astype(x.dtype)


class ResnetBlock2D(nnx.Module):
    """norm, SiLU, conv, plus time, norm, SiLU, conv, plus shortcut: the residual block of UNet and VAE."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        time_dim: int | None,
        groups: int,
        eps: float,
        dtype: DType,
        param_dtype: DType,
        rngs: nnx.Rngs,
    ):
        kw = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        self.norm1 = GroupNorm(groups, c_in, eps, param_dtype=param_dtype)
        self.conv1 = conv(c_in, c_out, **kw)
        if time_dim is not None:
            self.time_emb_proj = nnx.Linear(time_dim, c_out, **kw)
        self.norm2 = GroupNorm(groups, c_out, eps, param_dtype=param_dtype)
        self.conv2 = conv(c_out, c_out, **kw)
        if c_in != c_out:
            self.conv_shortcut = conv(c_in, c_out, 1, **kw)
        self.has_shortcut = c_in != c_out

    def __call__(self, x: Float[Array, "b h w c"], time: Float[Array, "b t"] | None = None) -> Float[Array, "b h w d"]:
        h = self.conv1(jax.nn.silu(self.norm1(x)))
        if time is not None:
            h = h + self.time_emb_proj(jax.nn.silu(time))[:, None, None]
        h = self.conv2(jax.nn.silu(self.norm2(h)))
        return h + (self.conv_shortcut(x) if self.has_shortcut else x)


class Downsample2D(nnx.Module):
    """Stride-2 convolution. The UNet pads one pixel on every side; the VAE only at the bottom and right."""

    def __init__(self, channels: int, *, padding: int, dtype: DType, param_dtype: DType, rngs: nnx.Rngs):
        self.asymmetric = padding == 0
        self.conv = conv(channels, channels, stride=2, padding=padding, dtype=dtype, param_dtype=param_dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
        if self.asymmetric:
            x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
        return self.conv(x)


def upsample_nearest(x: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b H W c"]:
    """Nearest-neighbour resize to ``size``; exact doubling is the common case and is a plain repeat."""
    b, h, w, c = x.shape
    if size == (2 * h, 2 * w):
        doubled = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
        return doubled.reshape(b, 2 * h, 2 * w, c)
    rows = jnp.arange(size[0]) * h // size[0]
    columns = jnp.arange(size[1]) * w // size[1]
    return x[:, rows][:, :, columns]


class Upsample2D(nnx.Module):
    """Nearest-neighbour resize (twofold unless a size is given), then a convolution."""

    def __init__(self, channels: int, *, dtype: DType, param_dtype: DType, rngs: nnx.Rngs):
        self.conv = conv(channels, channels, dtype=dtype, param_dtype=param_dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"], size: tuple[int, int] | None = None) -> Float[Array, "b H W c"]:
        return self.conv(upsample_nearest(x, size or (2 * x.shape[1], 2 * x.shape[2])))


def sinusoidal_embedding(
    t: Float[Array, " b"],
    dim: int,
    *,
    flip_sin_to_cos: bool,
    downscale_freq_shift: float,
    max_period: float = 10000.0,
) -> Float[Array, "b dim"]:
    """Position embedding of a timestep (Vaswani et al. 1706.03762, sec. 3.5, in the layout of DDPM).

    Args:
      t: timesteps, fractional ones allowed.
      dim: width of the result; the last column is zero when odd.
      flip_sin_to_cos: cosines first (Stable Diffusion) instead of sines first.
      downscale_freq_shift: 0 (Stable Diffusion) or 1 (DDPM).
    """
    half = dim // 2
    exponent = -math.log(max_period) * jnp.arange(half, dtype=jnp.float32) / (half - downscale_freq_shift)
    angle = t.astype(jnp.float32)[:, None] * jnp.exp(exponent)[None]
    parts = (jnp.cos(angle), jnp.sin(angle)) if flip_sin_to_cos else (jnp.sin(angle), jnp.cos(angle))
    return jnp.pad(jnp.concatenate(parts, -1), ((0, 0), (0, dim % 2)))


class Identity(nnx.Module):
    """Holds a place in a list whose PyTorch original has a parameterless layer there."""

    def __call__(self, x: Array) -> Array:
        return x


def guidance_embedding(scale: Float[Array, " b"], dim: int) -> Float[Array, "b dim"]:
    """What LCM checkpoints are told of the guidance scale (Luo et al. 2310.04378): (scale - 1) * 1000, sines first."""
    w = (jnp.asarray(scale, jnp.float32) - 1) * 1000
    return sinusoidal_embedding(w, dim, flip_sin_to_cos=False, downscale_freq_shift=1)
