"""The programs of a call, on a slice."""

import pytest

from img2img_jax import make_mesh
from img2img_jax.aot import count_flops, measure, stages

SLICE = "v5e:16x16"


@pytest.fixture(scope="module")
def mesh(tpu_slice):
    return make_mesh(devices=tpu_slice(SLICE))


def flops(stage):
    return count_flops(stage.traced.jaxpr.jaxpr)


def test_a_model_has_the_stages_it_has_networks_for(tiny_networks, mesh):
    found = [stage.name for stage in stages(tiny_networks, mesh, resolution=16, samples=1)]
    assert found == ["step", "loop", "encode", "decode", "text_encoder", "attention"]


def test_a_step_is_a_turn_of_the_loop_and_grows_with_the_samples(tiny_networks, mesh):
    step, loop = stages(tiny_networks, mesh, resolution=16, samples=1, names=["step", "loop"])
    (more,) = stages(tiny_networks, mesh, resolution=16, samples=3, names=["step"])
    assert 0 < flops(step) == flops(loop)
    assert flops(more) == 3 * flops(step)


def test_devices_denoise_without_a_word_to_each_other(tiny_networks, mesh):
    (loop,) = stages(tiny_networks, mesh, resolution=16, samples=1, names=["loop"])
    figures = measure(loop, SLICE, 16)
    assert figures.fits and figures.peak > figures.arguments > 0 and figures.cycles > 0
    assert figures.collectives == {}


@pytest.mark.parametrize(
    ("options", "message"), [({"names": ["sleep"]}, "sleep"), ({"resolution": 17}, "multiple of 2")]
)
def test_what_cannot_be_compiled_is_said(tiny_networks, mesh, options, message):
    with pytest.raises(ValueError, match=message):
        list(stages(tiny_networks, mesh, **{"resolution": 16, "samples": 1} | options))
