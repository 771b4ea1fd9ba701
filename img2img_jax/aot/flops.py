"""FLOPs of a traced program: those of its matrix products and convolutions, a product and a sum counted as two."""

from __future__ import annotations

import math

from jax.extend import core


def count_flops(jaxpr: core.Jaxpr, *, lanes: int = 1, kernels_only: bool = False) -> int:
    """FLOPs of what ``jaxpr`` computes on one device, its loops of unknown length counted once.

    Loops of known length count every turn. Of the branches of a conditional, the dearest counts; of the ways that
    differ by platform, the portable one, which is the last. So the figure is that of the mathematics, whatever kernel
    does it.

    Args:
      lanes: matrix products are padded to multiples of it, in what they sum over and in their result's last axis.
      kernels_only: count nothing but what differs by platform.
    """
    return sum(_flops(equation, lanes, kernels_only) for equation in jaxpr.eqns)


def _flops(equation: core.JaxprEqn, lanes: int, kernels_only: bool) -> int:
    name, params = equation.primitive.name, equation.params
    if name in _PRODUCTS:
        return 0 if kernels_only else _PRODUCTS[name](equation, lanes)
    jaxprs = list(core.jaxprs_in_params(params))
    if params.get("branches_platforms"):
        return count_flops(jaxprs[-1], lanes=lanes)
    inner = [count_flops(jaxpr, lanes=lanes, kernels_only=kernels_only) for jaxpr in jaxprs]
    # A loop of unknown length is a condition and a body, of which the condition multiplies nothing.
    return max(inner) if name == "cond" else params.get("length", 1) * sum(inner)


def _dot(equation: core.JaxprEqn, lanes: int) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left, out = (var.aval.shape for var in (equation.invars[0], equation.outvars[0]))
    summed = _padded(math.prod(left[axis] for axis in contracted), lanes)
    return 2 * summed * math.prod(out[:-1]) * _padded(out[-1] if out else 1, lanes)


def _convolution(equation: core.JaxprEqn, lanes: int) -> int:
    kernel = equation.invars[1].aval.shape
    taps = math.prod(kernel) // kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    return 2 * math.prod(equation.outvars[0].aval.shape) * taps


def _padded(size: int, lanes: int) -> int:
    return -(-size // lanes) * lanes


_PRODUCTS = {"dot_general": _dot, "conv_general_dilated": _convolution}
