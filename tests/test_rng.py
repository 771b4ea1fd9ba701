"""Per-sample keys."""

import jax
import numpy as np
import pytest

from img2img_jax import rng


def noise(seeds, index=0, name="noise", shape=(3, 2)):
    return np.asarray(rng.normal(rng.stream(rng.sample_keys(seeds, index), name), shape))


def test_keys_are_the_documented_folds():
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), 2), 1)
    np.testing.assert_array_equal(noise([7], 2), jax.random.normal(key, (3, 2))[None])


def test_noise_does_not_depend_on_batch_or_position():
    batch = noise([5, 11, 5], [0, 0, 1])
    np.testing.assert_array_equal(batch[1], noise(11)[0])
    np.testing.assert_array_equal(batch[2:], noise(5, 1))


def test_seed_index_stream_and_step_each_change_the_noise():
    keys = rng.sample_keys(5)
    values = [noise(5), noise(6), noise(5, 1), noise(5, name="posterior"), noise(5, name="step")]
    values += [np.asarray(rng.normal(rng.fold_in(keys, i), (3, 2))) for i in (7, 8)]
    assert len({v.tobytes() for v in values}) == len(values)


def test_the_largest_seed_works():
    assert noise(2**32 - 1).tobytes() != noise(2**31 - 1).tobytes() != noise(0).tobytes()
    np.testing.assert_array_equal(noise(np.array([3, 4])), noise([3, 4]))


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "7", None, float("nan")])
def test_a_bad_seed_is_named_with_its_place(seed):
    with pytest.raises(ValueError, match=r"seed .* at position 1 must be an integer in \[0, 2\*\*32\)"):
        rng.sample_keys([0, seed])


def test_lengths_must_pair_up():
    with pytest.raises(ValueError, match="2 seeds and 3 sample indices"):
        rng.sample_keys([1, 2], [1, 2, 3])
    assert rng.sample_keys(1, [0, 1, 2]).shape == (3,)


def test_unknown_stream_is_refused():
    with pytest.raises(ValueError, match="'vae' is not known; choose one of posterior, noise, step"):
        rng.stream(rng.sample_keys(0), "vae")
