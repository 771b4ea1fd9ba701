"""Figures of programs small enough to be known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from img2img_jax import make_mesh
from img2img_jax.aot import Stage, measure


def stage(function, *arguments):
    return Stage(name="step", samples=1, traced=jax.jit(function).trace(*arguments))


@pytest.fixture
def square(tpu_place):
    return jax.ShapeDtypeStruct((1024, 1024), jnp.bfloat16, sharding=tpu_place)


def test_memory_and_flops_of_a_product(square):
    figures = measure(stage(jnp.matmul, square, square), "v5e:1x1", 64)
    assert figures.fits and figures.arguments == 2 * 2 * 1024**2
    assert figures.flops == 2 * 1024**3
    assert 0 < figures.model_flop_use <= 1


def test_what_does_not_fit_is_refused_by_the_compiler(tpu_place):
    too_large = jax.ShapeDtypeStruct((2**27, 128), jnp.bfloat16, sharding=tpu_place)  # 32 GiB
    figures = measure(stage(lambda x: x + 1, too_large), "v5e:1x1", 64)
    assert not figures.fits and "memory" in figures.refusal.lower()
    assert figures.peak is None and figures.seconds is None


def test_a_sum_over_devices_is_a_collective(tpu_slice):
    mesh = make_mesh(devices=tpu_slice("v5e:2x2"))
    rows = jax.ShapeDtypeStruct((4, 256), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec("data")))
    found = measure(stage(lambda x: x.sum(0), rows), "v5e:2x2", 64).collectives
    assert found["all-reduce"] == (1, 4 * 256)


def test_what_was_compiled_is_found_again(square, tmp_path, monkeypatch):
    first = measure(stage(jnp.add, square, square), "v5e:1x1", 64, tmp_path)
    monkeypatch.setattr("img2img_jax.aot.measurement._compiled", None)  # nothing compiles from here on
    assert measure(stage(jnp.add, square, square), "v5e:1x1", 64, tmp_path) == first
    with pytest.raises(TypeError):
        measure(stage(jnp.subtract, square, square), "v5e:1x1", 64, tmp_path)


def test_a_slice_has_its_chips(tpu_slice):
    assert len(tpu_slice("v5e:16x16")) == 256
    assert np.all([device.device_kind == "TPU v6 lite" for device in tpu_slice("v6e:2x2")])


@pytest.mark.parametrize(("topology", "message"), [("v1:1x1", "no known chip"), ("v5e:3x7", "no slice")])
def test_slices_that_do_not_exist_are_refused(tpu_slice, topology, message):
    with pytest.raises(ValueError, match=message):
        tpu_slice(topology)
