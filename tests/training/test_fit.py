"""The training loop: it learns, averages, logs, and resumes to the bit."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from img2img_jax.training import FitConfig, OptimizerConfig, fit
from img2img_jax.training.fit import newest_step, restore_ema

OPTIMIZER = OptimizerConfig(learning_rate=0.05, steps=40, warmup_steps=2)
CONFIG = FitConfig(steps=12, log_every=4, evaluate_every=6, checkpoint_every=4)
TRUTH = np.asarray([[1.0, -2.0], [0.5, 3.0]], np.float32)


def loss(params, frozen, batch, key):
    noise = 0.01 * jax.random.normal(key, batch["y"].shape)
    error = jnp.square(batch["x"] @ params["w"] * frozen - batch["y"] + noise).mean()
    return error, {"error": error}


def batch_at(step):
    x = np.random.default_rng((0, step)).normal(size=(8, 2)).astype(np.float32)
    return {"x": x, "y": x @ TRUTH}


def run(workdir, steps=12, batches=batch_at, **kw):
    config = dataclasses.replace(CONFIG, steps=steps)
    start = {"w": jnp.zeros((2, 2))}
    kw = {"optimizer": OPTIMIZER, **kw}
    return fit(loss, start, batches, config=config, workdir=workdir, frozen=jnp.float32(1), **kw)


def test_it_learns(tmp_path):
    state = run(tmp_path, 150, optimizer=dataclasses.replace(OPTIMIZER, learning_rate=0.1, steps=150))
    np.testing.assert_allclose(state.params["w"], TRUTH, atol=0.3)


def test_resuming_gives_the_same_bits(tmp_path):
    whole = run(tmp_path / "whole")
    # A kill between two checkpoints loses the steps since the last one; they are made again.
    interrupted = iter(range(1000))

    def killed_batch(step):
        if next(interrupted) == 7:
            raise KeyboardInterrupt
        return batch_at(step)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", batches=killed_batch)
    resumed = run(tmp_path / "killed")
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    lines = [[json.loads(x) for x in (tmp_path / d / "metrics.jsonl").open()] for d in ("whole", "killed")]
    steps, losses = ([[line[k] for line in log] for log in lines] for k in ("step", "loss"))
    assert steps[0] == steps[1] == [4, 8, 12]
    assert losses[0] == losses[1]


def test_a_training_that_diverges_ends_and_leaves_what_was_good(tmp_path):
    run(tmp_path, 4)

    def spoilt(step):
        return jax.tree.map(lambda x: np.where(step == 5, np.nan, x), batch_at(step))

    with pytest.raises(FloatingPointError, match="loss is nan at step 8.* lower learning rate"):
        run(tmp_path, batches=spoilt)
    assert newest_step(tmp_path) == 4


def test_the_average_lags_and_is_restored(tmp_path):
    seen = []
    state = run(tmp_path, evaluate=lambda ema, step: seen.append(step) or {"w00": ema["w"][0, 0]})
    assert seen == [6, 12]
    assert not np.array_equal(state.ema["w"], state.params["w"])
    ema, step = restore_ema({"w": jax.ShapeDtypeStruct((2, 2), jnp.float32)}, tmp_path)
    assert step == 12
    np.testing.assert_array_equal(ema["w"], state.ema["w"])


def test_restoring_says_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="train there first"):
        restore_ema({"w": jnp.zeros((2, 2))}, tmp_path)
    run(tmp_path, 4)
    with pytest.raises(ValueError, match="another configuration"):
        restore_ema({"w": jnp.zeros((3, 2))}, tmp_path)
