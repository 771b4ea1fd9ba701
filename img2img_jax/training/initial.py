"""Initial weights that training starts well from."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx


def zero_residuals(network: nnx.Module, also: tuple[str, ...] = ()) -> None:
    """Zeroes the last layer of every residual branch, in place, so that the network starts as its skeleton.

    (Goyal et al. 1706.02677, sec. 5.1, do it to the last norm of each branch.)

    Args:
      also: names of further layers to zero, such as ``conv_out`` of a denoiser, whose first guess is then 0.
    """
    for path, module in nnx.iter_graph(network):
        if path and path[-1] in ("conv2", "proj_out", *also):
            module.kernel[...] = jnp.zeros_like(module.kernel[...])
