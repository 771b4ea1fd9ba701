"""The programs of a call, on a slice."""

import pytest

from img2img_jax import make_mesh
from img2img_jax.aot import count_flops, measure, stages
from img2img_jax.models import attention_tpu

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


def test_flops_are_those_of_one_device(tiny_networks, mesh):
    one, all_ = (
        {stage.name: flops(stage) for stage in stages(tiny_networks, on, resolution=16, samples=2)}
        for on in (make_mesh(devices=mesh.devices.flat[:1]), mesh)
    )
    assert one == all_


def test_a_text_encoder_multiplies_all_but_its_embeddings(tiny_networks, mesh):
    (text,) = stages(tiny_networks, mesh, resolution=16, samples=3, names=["text_encoder"])
    config = tiny_networks.texts["text_encoder"].config
    width, tokens = config.hidden_size, config.max_position_embeddings
    products = 4 * width**2 + 2 * width * config.intermediate_size + 2 * tokens * width
    assert flops(text) == 2 * 3 * tokens * config.num_hidden_layers * 2 * products


@pytest.mark.parametrize("name", ["encode", "decode"])
def test_the_flash_kernel_of_the_vae_runs_on_each_device(tiny_networks, tpu_slice, monkeypatch, name):
    monkeypatch.setattr(attention_tpu, "VECTOR_MEMORY", 0)  # attention among 32 x 32 latents is long already
    mesh = make_mesh(devices=tpu_slice("v5e:2x2"))
    (stage,) = stages(tiny_networks, mesh, resolution=64, samples=1, names=[name])
    figures = measure(stage, "v5e:2x2", 64)
    assert figures.kernels and figures.kernel_flops
    assert figures.collectives == {}


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
