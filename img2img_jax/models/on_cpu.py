"""Where a CPU takes another way than other devices to the same values."""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array


def on_cpu(fast: Callable[..., Array], plain: Callable[..., Array]) -> Callable[..., Array]:
    """A function of arrays that is ``fast`` in programs for a CPU which do not differentiate it, and else ``plain``.

    The device is the one that a program is lowered for, not the one at hand. Derivatives are those of ``plain``, and
    the values beside them as well: loops and transforms that help one pass would keep much for the other.
    """

    @jax.custom_jvp
    def call(*args: Array) -> Array:
        return jax.lax.platform_dependent(*args, cpu=fast, default=plain)

    def derivative(primals: tuple[Array, ...], tangents: tuple) -> tuple[Array, Array]:
        # Frozen arguments are left out: a materialised zero would cost a whole product with it.
        moving = [i for i, tangent in enumerate(tangents) if not isinstance(tangent, SymbolicZero)]

        def of_moving(*values: Array) -> Array:
            args = list(primals)
            for i, value in zip(moving, values, strict=True):
                args[i] = value
            return plain(*args)

        return jax.jvp(of_moving, [primals[i] for i in moving], [tangents[i] for i in moving])

    call.defjvp(derivative, symbolic_zeros=True)
    return call
