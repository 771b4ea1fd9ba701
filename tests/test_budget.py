"""What the embedded model costs, in figures that do not depend on the machine.

XLA counts operations and bytes of a program before it is compiled. A budget that is exceeded means work that was not
there before: a product done twice, an array copied. Lower one where a change saves work.
"""

import json

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from img2img_jax import programs
from img2img_jax.checkpoints import EMBEDDED_MODEL
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.models import AutoencoderKL, AutoencoderKLConfig, UNet2DConditionConfig, UNet2DConditionModel
from img2img_jax.testing.tiny import random_images, tiny_pipeline

# (floating-point operations, bytes), in millions: a UNet step with guidance, encoding and decoding one 64 px picture.
BUDGET = {"unet": (4105, 539), "encode": (446, 95), "decode": (1140, 204)}


def cost(model_class, config_class, folder, call, *shapes):
    """Millions of operations and bytes of ``call(model, *arrays)``."""
    config = config_class.from_dict(json.loads((EMBEDDED_MODEL / folder / "config.json").read_text(encoding="utf-8")))
    graphdef, state = nnx.split(nnx.eval_shape(lambda: model_class(config, rngs=nnx.Rngs(0))))
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    lowered = jax.jit(lambda state, *arrays: call(nnx.merge(graphdef, state), *arrays)).lower(state, *arrays)
    return [lowered.cost_analysis()[name] / 1e6 for name in ("flops", "bytes accessed")]


WORKS = {
    "unet": (
        *(UNet2DConditionModel, UNet2DConditionConfig, "unet", UNet2DConditionModel.__call__),
        *((2, 16, 16, 6), (2,), (2, 16, 192)),
    ),
    "encode": (AutoencoderKL, AutoencoderKLConfig, "vae", AutoencoderKL.encode, (1, 64, 64, 3)),
    "decode": (AutoencoderKL, AutoencoderKLConfig, "vae", AutoencoderKL.decode, (1, 16, 16, 6)),
}


@pytest.mark.parametrize("work", WORKS)
def test_networks_keep_to_their_budget(work):
    found = cost(*WORKS[work])
    print(f"{work}: {found[0]:.0f} million operations, {found[1]:.0f} million bytes")
    for figure, most in zip(found, BUDGET[work], strict=True):
        assert 0.9 * most < figure <= most


@pytest.mark.parametrize(("scheduler", "evaluations"), [("ddim", 16), ("dpmpp_2m", 16), ("heun", 31), ("lcm", 16)])
def test_network_evaluations_of_a_picture(scheduler, evaluations):
    config = json.loads((EMBEDDED_MODEL / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    table, starts = Scheduler.from_config(config, scheduler).table([0.8, 0.1], 20)
    assert starts[0].network_evaluations == evaluations == int(table.trip_count)


def test_keys_and_values_of_a_prompt_are_computed_once(monkeypatch):
    """XLA takes what does not change out of the loop: here the cross-attention's products with the text."""
    pipe, seen = tiny_pipeline(), {}
    denoise = programs.denoise

    def spy(*args):
        seen["program"] = denoise.lower(*args).compile().as_text()
        raise StopIteration

    monkeypatch.setattr(programs, "denoise", spy)
    with pytest.raises(StopIteration):
        pipe("a", random_images(), num_inference_steps=2)
    entry = seen["program"].split("\nENTRY ")[1]
    products = [line for line in entry.splitlines() if "while/body/dot_general" in line]
    assert len(products) == 2 * sum("attn2" in path for path in _paths(pipe) if "to_k" in path)


def _paths(pipe):
    return ["/".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(pipe.unet))]
