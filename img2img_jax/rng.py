"""Per-sample random keys.

A sample's keys are ``fold_in(fold_in(key(seed), sample_index), stream)``. Nothing else enters, so its noise
depends neither on the batch it is run in, nor on its place there, nor on the number of devices, nor on its
strength.
"""

import operator

import jax
import numpy as np

STREAMS = {"posterior": 0, "noise": 1, "step": 2}


def sample_keys(seeds, sample_index=0) -> jax.Array:
    """One key per sample.

    Args:
        seeds: an integer or [B] integers in [0, 2**32).
        sample_index: an integer or [B] integers in [0, 2**32): which of several samples of one seed.

    Returns:
        [B] typed keys; B is 1 when both arguments are single numbers.

    Raises:
        ValueError: for a seed or index that is no integer or out of range (named with its position), or for
            lengths that do not match.
    """
    seeds, indices = uint32("seed", seeds), uint32("sample_index", sample_index)
    if len(indices) != len(seeds) and 1 not in (len(indices), len(seeds)):
        raise ValueError(f"{len(seeds)} seeds and {len(indices)} sample indices do not pair up; give one or as many")
    return keys_of(*np.broadcast_arrays(seeds, indices))


def keys_of(seeds, indices) -> jax.Array:
    """As ``sample_keys``, of [B] uint32 each, without a check: to be called inside a compiled program."""
    return jax.vmap(lambda seed, index: jax.random.fold_in(jax.random.key(seed), index))(seeds, indices)


def stream(keys, name: str) -> jax.Array:
    """The [B] keys of one purpose: ``"posterior"`` (VAE sample), ``"noise"`` (start) or ``"step"`` (solver
    noise).

    Raises:
        ValueError: for another name.
    """
    if name not in STREAMS:
        raise ValueError(f"stream {name!r} is not known; choose one of {', '.join(STREAMS)}")
    return fold_in(keys, STREAMS[name])


def fold_in(keys, data) -> jax.Array:
    """Folds one integer into each of the [B] keys."""
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, data)


def normal(keys, shape) -> jax.Array:
    """Standard normal noise [B, *shape], float32; row b comes from ``keys[b]`` alone."""
    return jax.vmap(lambda key: jax.random.normal(key, tuple(shape)))(keys)


def uint32(name: str, values) -> np.ndarray:
    """[B] uint32 of an integer or [B] integers in [0, 2**32), or a ValueError that names what is none."""
    values = list(values) if np.ndim(values) else [values]
    for position, value in enumerate(values):
        try:
            in_range = 0 <= operator.index(value) < 2**32
        except TypeError:
            in_range = False
        if not in_range:
            raise ValueError(f"{name} {value!r} at position {position} must be an integer in [0, 2**32)")
    return np.array([operator.index(value) for value in values], np.uint32)
