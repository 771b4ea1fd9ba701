"""The sampling table."""

import dataclasses

import jax
import numpy as np

from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.diffusion.solvers import SCHEDULERS
from img2img_jax.diffusion.table import BUCKET, SamplingTable, lengthened

SD = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def shapes(table):
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(table)]


def test_it_is_a_pytree_with_the_batch_in_front():
    table, _ = Scheduler.from_config(SD, "euler").table([0.2, 0.5, 0.8], 20)
    assert isinstance(jax.tree.map(lambda a: a, table), SamplingTable)
    for field in dataclasses.fields(table):
        value = getattr(table, field.name)
        assert value.shape[:1] == (() if field.name == "trip_count" else (3,)), field.name
        assert value.dtype in (np.float32, np.int32), field.name
    assert table.evaluations.tolist() == [4, 10, 16] and table.trip_count == 16


def test_its_shape_does_not_depend_on_strength_mode_or_sampler():
    seen = set()
    for name in SCHEDULERS:
        scheduler = Scheduler.from_config(SD, name)
        for mode in ("truncate", "exact", "continuous"):
            for s in (0, 0.5, 1):
                seen.add(tuple(shapes(scheduler.table(s, 20, mode)[0])))
    assert len(seen) == 1
    assert Scheduler.from_config(SD, "ddim").table(0.5, BUCKET + 1)[0].x.shape == (1, 2 * BUCKET, 8)


def test_padding_is_inert():
    table, _ = Scheduler.from_config(SD, "heun").table([0.0, 0.5], 20)
    for b, n in enumerate(table.evaluations):
        assert not table.x[b, n:].any() and not table.timestep[b, n:].any() and np.isinf(table.clip[b, n:]).all()
    assert np.isfinite(table.x).all() and np.isfinite(table.convert).all()


def test_a_lengthened_table_only_has_more_padding():
    scheduler = Scheduler.from_config(SD, "heun")
    longer, whole = lengthened(scheduler.table([0.0, 0.5], 20)[0], 2 * BUCKET), scheduler.table([0.0, 0.5], BUCKET)[0]
    assert shapes(longer) == shapes(whole)
    for b, n in enumerate(longer.evaluations):
        assert not longer.x[b, n:].any() and np.isinf(longer.clip[b, n:]).all()
    np.testing.assert_array_equal(longer.x[:, :BUCKET], scheduler.table([0.0, 0.5], 20)[0].x)
