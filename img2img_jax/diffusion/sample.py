"""The sampling loop: one for every sampler, strength, scale and seed."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from .. import rng
from .forward import per_sample
from .table import SamplingTable


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LoopState:
    """All that the loop hands from one row to the next, so that it can be left after any row and entered again.

    Attributes:
        row: [B] int32, each sample's next row of its own table; it stops at ``table.evaluations``.
        x: [B, h, w, c] float32, the state.
        saved, m1, m2, m3: [B, h, w, c] float32, what the next row may combine with it (see ``solvers.base``).
    """

    row: jax.Array
    x: jax.Array
    saved: jax.Array
    m1: jax.Array
    m2: jax.Array
    m3: jax.Array

    @classmethod
    def enter(cls, x) -> "LoopState":
        """Before the first row, at ``x`` [B, h, w, c] as ``start`` returns it."""
        x = jnp.asarray(x, jnp.float32)
        nothing = jnp.zeros_like(x)
        return cls(row=jnp.zeros(len(x), jnp.int32), x=x, saved=nothing, m1=nothing, m2=nothing, m3=nothing)


def start(table: SamplingTable, latents, noise) -> jax.Array:
    """Where sampling starts: x = image_weight x_0 + noise_weight noise.

    A sample that starts from pure noise does not depend on its image, bit for bit, whatever the image
    holds; one of strength 0 is its image, whatever the noise holds.

    Args:
        table: for B samples.
        latents: [B, h, w, c] float32, the encoded images.
        noise: [B, h, w, c] float32, standard normal.

    Returns:
        [B, h, w, c] float32.
    """
    image_weight, noise_weight = (per_sample(w, latents) for w in (table.image_weight, table.noise_weight))
    from_image = jnp.where(image_weight == 0, 0, image_weight * latents)
    return from_image + jnp.where(noise_weight == 0, 0, noise_weight * noise)


def sample(
    denoise_fn: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    table: SamplingTable,
    *,
    step_keys: jax.Array | None = None,
    step_noise: jax.Array | None = None,
) -> jax.Array:
    """Runs the table from its start to its end: ``advance`` with arguments and errors as there.

    Args:
        x: [B, h, w, c] float32, as ``start`` returns it.

    Returns:
        [B, h, w, c] float32: clean latents.
    """
    state = LoopState.enter(x)
    return advance(denoise_fn, state, table, table.trip_count, step_keys=step_keys, step_noise=step_noise).x


def advance(
    denoise_fn: Callable[[jax.Array, jax.Array], jax.Array],
    state: LoopState,
    table: SamplingTable,
    count: jax.Array,
    *,
    step_keys: jax.Array | None = None,
    step_noise: jax.Array | None = None,
) -> LoopState:
    """Takes every sample ``count`` rows further in its own table, or to its end; samples may stand at different rows.

    To be called under ``jax.jit`` with the table as an argument. A sample's bits depend neither on the others nor on
    how its rows are divided among calls, as long as the compiler computes the rows of a batch alike.

    Args:
        denoise_fn: (x [B, h, w, c] float32, timestep [B] float32) -> the raw prediction [B, h, w, c],
            guidance included.
        state: of B samples.
        table: for B samples; its ``trip_count`` is not read.
        count: [] int32, of rows.
        step_keys: [B] keys of the samplers' noise: row i of sample b draws from ``fold_in(step_keys[b], i)``.
        step_noise: [steps, B, h, w, c] float32, given instead of drawn: row i of sample b takes
            ``step_noise[i, b]``, its i-th draw. It must be as long as the largest ``noise_draws`` of the
            batch; deterministic samplers never look at it.

    Raises:
        ValueError: unless exactly one of ``step_keys`` and ``step_noise`` is given, or if the latter does
            not fit ``state.x``.
    """
    shape = state.x.shape
    if (step_keys is None) == (step_noise is None):
        raise ValueError("give either step_keys or step_noise")
    if step_noise is not None and (step_noise.ndim != len(shape) + 1 or step_noise.shape[1:] != shape):
        raise ValueError(f"step_noise has shape {step_noise.shape}; latents {shape} need (steps, *{shape})")

    def draw(row):
        if step_noise is not None:
            return _rows_of(jnp.moveaxis(step_noise, 0, 1), row).astype(jnp.float32)
        return rng.normal(jax.vmap(jax.random.fold_in)(step_keys, row), shape[1:])

    def evaluate(carry):
        i, state = carry
        timestep, convert, clip, to_x, to_saved = (
            _rows_of(rows, state.row) for rows in (table.timestep, table.convert, table.clip, table.x, table.saved)
        )
        output = denoise_fn(state.x, timestep).astype(jnp.float32)
        clip = per_sample(clip, state.x)
        m0 = jnp.clip(_combine(convert, (state.x, output)), -clip, clip)
        draws = to_x[:, -1] != 0
        noise = lax.cond(jnp.any(draws), draw, lambda _: jnp.zeros(shape, jnp.float32), state.row)
        # Or else whether a neighbour draws would decide on the sign of this sample's zeros.
        noise = jnp.where(per_sample(draws, noise), noise, 0)
        basis = (state.x, state.saved, output, m0, state.m1, state.m2, state.m3, noise)
        running = state.row < table.evaluations
        return i + 1, LoopState(
            row=state.row + running,
            x=jnp.where(per_sample(running, state.x), _combine(to_x, basis), state.x),
            saved=_combine(to_saved, basis),
            m1=m0,
            m2=state.m1,
            m3=state.m2,
        )

    return lax.while_loop(lambda carry: carry[0] < count, evaluate, (jnp.int32(0), state))[1]


def _rows_of(table: jax.Array, row: jax.Array) -> jax.Array:
    """Sample b's row ``row[b]`` of ``table`` [B, L, ...]; beyond the last, the last."""
    return jax.vmap(lambda rows, i: lax.dynamic_index_in_dim(rows, i, keepdims=False))(table, row)


def _combine(weights: jax.Array, tensors) -> jax.Array:
    """sum_k weights[:, k] tensors[k], sample by sample."""
    return sum(per_sample(weights[:, k], tensor) * tensor for k, tensor in enumerate(tensors))
