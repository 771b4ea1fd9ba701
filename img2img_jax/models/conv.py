"""Convolution: the one seam all networks go through."""

from __future__ import annotations

from functools import partial
from typing import Any

from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from img2img_jax.models.conv_cpu import faster_way
from img2img_jax.models.on_cpu import on_cpu
from img2img_jax.types import DType


def conv(
    c_in: int,
    c_out: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    padding: int | None = None,
    use_bias: bool = True,
    dtype: DType,
    param_dtype: DType,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """A square convolution with PyTorch's symmetric padding written out ("SAME" differs at stride 2)."""
    pad = kernel // 2 if padding is None else padding
    return nnx.Conv(
        c_in,
        c_out,
        (kernel, kernel),
        strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        use_bias=use_bias,
        dtype=dtype,
        param_dtype=param_dtype,
        rngs=rngs,
        conv_general_dilated=convolve,
    )


def convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"], strides: Any, padding: Any, **others: Any
) -> Float[Array, "b h w d"]:
    """``lax.conv_general_dilated``; where a CPU has a faster way, that way."""
    direct = partial(lax.conv_general_dilated, window_strides=strides, padding=padding, **others)
    centred = kernel.shape[:2] == (3, 3) and tuple(strides) == (1, 1) and [*map(tuple, padding)] == [(1, 1), (1, 1)]
    fast = faster_way(x, kernel) if centred else None
    return direct(x, kernel) if fast is None else on_cpu(fast, direct)(x, kernel)
