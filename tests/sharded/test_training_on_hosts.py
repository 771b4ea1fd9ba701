"""Training over real processes that exchange gradients and weights; one is killed, and all go on where they were."""

import json

import pytest

_SCRIPT = """
import os
import signal
import sys
import time

from img2img_jax.hosts import initialize

index, count, address, workdir, killed_at = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:5], int(sys.argv[5])
host = initialize(coordinator=address, count=count, index=index)

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from img2img_jax import make_mesh
from img2img_jax.parallel import local_rows
from img2img_jax.partition import Partition, fetched
from img2img_jax.training import FitConfig, OptimizerConfig, fit

assert (host.index, host.count, len(jax.devices())) == (index, count, count)
logging.set_verbosity(logging.INFO)
mesh = make_mesh(fsdp=count)
rows = local_rows(8, mesh)
assert list(rows) == list(range(8 // count * index, 8 // count * (index + 1)))


def loss(params, frozen, batch, key):
    return jnp.square(batch["x"] @ params["kernel"] - jnp.roll(batch["x"], 1, 1)).mean(), {}


def batch_at(step):
    if index == 1 and step == killed_at:
        while not os.path.isdir(f"{workdir}/checkpoints/3"):  # it is written in the background
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
    return {"x": np.random.default_rng((0, step)).normal(size=(8, 16)).astype(np.float32)[rows]}


state = fit(
    loss,
    {"kernel": np.zeros((16, 16), np.float32)},
    batch_at,
    config=FitConfig(steps=8, log_every=1, evaluate_every=100, checkpoint_every=3),
    optimizer=OptimizerConfig(learning_rate=0.1, steps=8, warmup_steps=2),
    workdir=workdir,
    mesh=mesh,
    partition=Partition(smallest=1),
)
kernel = state.params["kernel"]
assert [shard.data.shape for shard in kernel.addressable_shards] == [(16 // count, 16)]
assert fetched(state.params)["kernel"].shape == (16, 16) and not kernel.is_fully_addressable
"""


@pytest.fixture(scope="module")
def train(on_hosts, tmp_path_factory):
    """Losses and exit codes of a training in a folder."""
    root = tmp_path_factory.mktemp("training")

    def run(count, name, killed_at=-1):
        ended = on_hosts(_SCRIPT, count, root / name, killed_at)
        log = root / name / "metrics.jsonl"
        losses = [json.loads(line)["loss"] for line in log.read_text().splitlines()] if log.exists() else []
        return losses, [code for code, _ in ended], "\n".join(said for _, said in ended)

    return run


def test_two_hosts_go_on_after_a_kill_with_the_same_losses(train):
    whole, codes, said = train(2, "whole")
    assert codes == [0, 0], said
    assert len(whole) == 8 and whole[-1] < whole[0]
    _, codes, _ = train(2, "killed", killed_at=5)
    assert codes[1] == -9 and codes[0] != 0
    resumed, codes, said = train(2, "killed")
    assert codes == [0, 0] and "resumed from step 3" in said, said
    assert resumed == whole


def test_four_hosts_learn_the_same(train):
    four, codes, said = train(4, "four")
    assert codes == [0] * 4, said
    two, _, _ = train(2, "whole")  # has nothing left to do
    assert four == pytest.approx(two, rel=1e-5)
