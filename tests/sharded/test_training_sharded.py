"""Training with split parameters, on eight devices: the same result, a part of the memory, other devices next time."""

import pytest

_SCRIPT = """
import json
import re
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from img2img_jax import make_mesh
from img2img_jax.partition import Partition, placed, rematerialised
from img2img_jax.training import FitConfig, OptimizerConfig, fit

CONFIG = dict(log_every=1, evaluate_every=100, checkpoint_every=4)
rng = np.random.default_rng(0)
START = {
    "ff": {"net": [{"proj": {"kernel": rng.standard_normal((16, 64), np.float32) / 4}}, {}, {"kernel": np.eye(64, 16)}]}
}
START["ff"]["net"][2]["kernel"] = START["ff"]["net"][2]["kernel"].astype(np.float32)


def loss(params, frozen, batch, key):
    first, second = (params["ff"]["net"][n] for n in (0, 2))
    y = jnp.tanh(batch["x"] @ frozen @ first["proj"]["kernel"]) @ second["kernel"]
    return jnp.square(y - jnp.roll(batch["x"], 1, 1) + 0.01 * jax.random.normal(key, y.shape)).mean(), {}


def batch_at(step):
    return {"x": np.random.default_rng((0, step)).normal(size=(16, 16)).astype(np.float32)}


def train(folder, steps, **axes):
    state = fit(
        loss,
        START,
        batch_at,
        config=FitConfig(steps=steps, **CONFIG),
        optimizer=OptimizerConfig(learning_rate=0.01, steps=12, warmup_steps=2),
        workdir=folder,
        frozen=np.eye(16, dtype=np.float32),
        mesh=make_mesh(**axes),
        partition=Partition(smallest=64),
    )
    with open(f"{folder}/metrics.jsonl") as file:
        losses = [json.loads(line)["loss"] for line in file]
    leaves = [leaf for leaf in jax.tree.leaves((state.params, state.ema, state.opt_state)) if leaf.ndim]
    total = sum(leaf.nbytes for leaf in leaves)
    held = [sum(leaf.addressable_shards[n].data.nbytes for leaf in leaves) / total for n in range(len(jax.devices()))
            if n < len(leaves[0].addressable_shards)]
    return {"losses": losses, "held": held}


def gathers(layers):
    # How often weights are put together in a gradient, forth and back.
    mesh, partition, kernels = make_mesh(fsdp=8), Partition(smallest=1), [{"kernel": np.eye(16)}] * layers
    split = rematerialised(lambda kernels, x: chain(kernels, x).sum(), (partition.specs(kernels, mesh),), mesh)
    placed_kernels = placed(kernels, partition.shardings(kernels, mesh))
    grad = jax.jit(jax.grad(split), out_shardings=partition.shardings(kernels, mesh))
    return len(re.findall(" all-gather[(]", grad.lower(placed_kernels, np.ones((8, 16))).compile().as_text()))


def chain(kernels, x):
    for each in kernels:
        x = jnp.tanh(x @ each["kernel"])
    return x


results = {"gathers": gathers(3)}
with tempfile.TemporaryDirectory() as folder:
    results["one"] = train(folder + "/one", 8, devices=jax.devices()[:1])
    results["data"] = train(folder + "/data", 8)
    results["fsdp"] = train(folder + "/fsdp", 8, fsdp=8)
    results["all"] = train(folder + "/all", 8, data=2, fsdp=2, tensor=2)
    results["moved"] = train(folder + "/fsdp", 12, fsdp=2, devices=jax.devices()[:2])
    results["longer"] = train(folder + "/one", 12, devices=jax.devices()[:1])
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def result(on_eight_devices):
    return on_eight_devices(_SCRIPT)


def test_losses_are_those_of_one_device(result):
    for mesh in ("data", "fsdp", "all"):
        assert result[mesh]["losses"] == pytest.approx(result["one"]["losses"], rel=1e-5)
    assert result["one"]["losses"][-1] < 0.98 * result["one"]["losses"][0]


def test_parameters_averages_and_moments_are_split(result):
    assert result["data"]["held"] == [1] * 8
    assert result["fsdp"]["held"] == [1 / 8] * 8
    assert result["all"]["held"] == [1 / 4] * 8


def test_a_checkpoint_goes_on_on_other_devices(result):
    assert result["moved"]["losses"][:8] == result["fsdp"]["losses"]
    assert result["moved"]["losses"] == pytest.approx(result["longer"]["losses"], rel=1e-5)
    assert result["moved"]["held"] == [1 / 2] * 2


def test_weights_are_put_together_again_on_the_way_back(result):
    assert result["gathers"] >= 5  # three on the way there; the first layer's are not needed on the way back
