"""The training loop: any loss, over any mesh, resumed exactly after a kill.

Everything a step depends on is a function of the step number and the checkpointed state (batches are drawn from
``(seed, step)``), so a run that is killed and started again makes the same updates as one that was not.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from absl import logging
from jax.sharding import Mesh

from img2img_jax.parallel import make_mesh, replicated, shard_batch
from img2img_jax.partition import PARTITION, Partition, placed, rematerialised
from img2img_jax.training.optimizer import OptimizerConfig, make_optimizer

Params = Any
Batch = Mapping[str, np.ndarray]
Metrics = Mapping[str, jax.Array]
Loss = Callable[[Params, Any, Batch, jax.Array], tuple[jax.Array, Metrics]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainState:
    """All that a checkpoint holds: step number, parameters, their running average, the optimiser's moments."""

    step: jax.Array
    params: Params
    ema: Params
    opt_state: optax.OptState


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How long to train and how often to say, look and save (all in steps).

    Attributes:
      steps: where training stops; a resumed run counts on from its checkpoint.
      ema_decay: of the averaged weights, which are what is evaluated and exported; the average warms up as
        ``min(ema_decay, (1 + step) / (10 + step))`` so that early weights are forgotten.
      keep: checkpoints kept.
    """

    steps: int
    seed: int = 0
    ema_decay: float = 0.999
    log_every: int = 50
    evaluate_every: int = 1000
    checkpoint_every: int = 500
    keep: int = 2


def fit(
    loss: Loss,
    params: Params,
    batch_at: Callable[[int], Batch],
    *,
    config: FitConfig,
    optimizer: OptimizerConfig,
    workdir: str | Path,
    frozen: Any = None,
    evaluate: Callable[[Params, int], Mapping[str, float]] | None = None,
    mesh: Mesh | None = None,
    partition: Partition = PARTITION,
) -> TrainState:
    """Trains ``params`` until ``config.steps``, from the newest checkpoint in ``workdir`` if there is one.

    Args:
      loss: ``(params, frozen, batch, key) -> (scalar, metrics)``; pure, jitted here.
      params: initial parameters, a pytree of arrays; copied.
      batch_at: step number to a dict of host arrays whose leading axis divides by the devices that split batches. On
        several hosts, each gives its own rows (``parallel.local_rows``). Called from one background thread, one step
        ahead.
      workdir: on several hosts, a folder that all of them see.
      frozen: parameters and tables the loss reads and nothing changes.
      evaluate: ``(averaged parameters, step) -> metrics``, called every ``evaluate_every`` steps and at the end.
      mesh: from ``make_mesh``; all devices by default, for batches alone. With ``fsdp`` every device holds its part of
        the parameters, their average and the optimiser's moments, wherever they are large.
      partition: how these lie on the mesh.

    Returns:
      The final state, on the mesh. ``workdir`` holds ``checkpoints/``, which can be restored on any other mesh, and
      ``metrics.jsonl``.

    Raises:
      FloatingPointError: loss or gradient is not finite. What is checkpointed is from before.
    """
    mesh = mesh or make_mesh()
    workdir = Path(workdir).absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    transform = make_optimizer(optimizer)
    frozen = placed(frozen, partition.shardings(frozen, mesh))
    state = _initial_state(params, transform, partition, mesh)
    split = rematerialised(loss, (partition.specs(params, mesh), partition.specs(frozen, mesh)), mesh)
    places = jax.tree.map(lambda leaf: leaf.sharding, state)
    update = partial(update_step(split, transform, config, places, mesh), seed=np.uint32(config.seed))
    options = ocp.CheckpointManagerOptions(max_to_keep=config.keep)
    with ocp.CheckpointManager(workdir / "checkpoints", options=options) as checkpoints:
        newest = checkpoints.latest_step()
        if newest is not None:
            state = checkpoints.restore(newest, args=ocp.args.StandardRestore(state))
            logging.info("resumed from step %d", newest)
        log = _MetricsLog(workdir / "metrics.jsonl", int(state.step), config.log_every)
        for step, batch in _prefetch(batch_at, int(state.step), config.steps):
            state, metrics = update(state, frozen, shard_batch(batch, mesh))
            done, last = step + 1, step + 1 == config.steps
            saves = last or done % config.checkpoint_every == 0
            if saves or done % config.log_every == 0:
                _require_finite(done, metrics)
            log.add(done, metrics)
            if evaluate and (last or done % config.evaluate_every == 0):
                log.write(done, {f"eval/{k}": v for k, v in evaluate(state.ema, done).items()})
            if saves:
                checkpoints.save(done, args=ocp.args.StandardSave(state))
    return state


def _require_finite(step: int, metrics: Metrics) -> None:
    """A weight that is not finite once stays so: the newest step tells for all before it.

    Raises:
      FloatingPointError: it is not.
    """
    for name in ("loss", "grad_norm"):
        if not np.isfinite(value := float(metrics[name])):
            raise FloatingPointError(
                f"{name} is {value} at step {step}: the training has diverged; begin again with a lower learning rate"
            )


def newest_step(workdir: str | Path) -> int:
    """The step from which ``fit`` would go on in ``workdir``: that of the newest checkpoint, 0 without any."""
    return max(ocp.utils.checkpoint_steps(Path(workdir).absolute() / "checkpoints"), default=0)


def restore_ema(params: Params, workdir: str | Path) -> tuple[Params, int]:
    """The averaged parameters of the newest checkpoint of a run, and its step.

    Args:
      params: a pytree of arrays or ``ShapeDtypeStruct`` of the same structure.

    Raises:
      FileNotFoundError: the run has no checkpoint.
    """
    folder = Path(workdir).absolute() / "checkpoints"
    with ocp.CheckpointManager(folder, item_handlers=ocp.StandardCheckpointHandler()) as checkpoints:
        step = checkpoints.latest_step() if folder.is_dir() else None
        if step is None:
            raise FileNotFoundError(f"no checkpoint in {folder}: train there first")
        # All on one device, however many the run had.
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        stored = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), checkpoints.item_metadata(step)
        )
        restored = checkpoints.restore(step, args=ocp.args.StandardRestore(stored))
    # Without a target orbax returns nested dicts with names for list positions: parameters are found by path.
    ema, wanted = _by_path(restored["ema"]), _by_path(params)
    if {path: leaf.shape for path, leaf in ema.items()} != {path: leaf.shape for path, leaf in wanted.items()}:
        raise ValueError(f"the checkpoint in {folder} was trained with another configuration of the network")
    return jax.tree.unflatten(jax.tree.structure(params), [ema[path] for path in wanted]), step


def _by_path(tree: Params) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _initial_state(
    params: Params, transform: optax.GradientTransformation, partition: Partition, mesh: jax.sharding.Mesh
) -> TrainState:
    def build(params: Params) -> TrainState:
        # Copies: the update donates its state, and the caller keeps what it gave.
        params, ema = (jax.tree.map(jnp.copy, params) for _ in range(2))
        return TrainState(step=jnp.int32(0), params=params, ema=ema, opt_state=transform.init(params))

    places = partition.shardings(jax.eval_shape(build, params), mesh)
    return jax.jit(build, out_shardings=places)(placed(params, places.params))


def update_step(loss: Loss, transform: optax.GradientTransformation, config: FitConfig, places: Any, mesh: Mesh):
    """One update, compiled: ``(state, frozen, batch, *, seed) -> (state, metrics)``; the state is donated.

    Args:
      places: where the new state lies; the metrics are everywhere.
      mesh: the loss sees it, so that kernels which the compiler cannot split are split by hand.
    """

    @partial(jax.jit, donate_argnums=0, out_shardings=(places, replicated(mesh)))
    def update(state: TrainState, frozen: Any, batch: Batch, *, seed: jax.Array) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(state.params, frozen, batch, key)
        updates, opt_state = transform.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = jnp.minimum(config.ema_decay, (1.0 + state.step) / (10.0 + state.step))
        ema = jax.tree.map(lambda e, p: e + (1 - decay) * (p - e), state.ema, params)
        metrics = {"loss": value, "grad_norm": optax.tree.norm(grads), **metrics}
        return TrainState(step=state.step + 1, params=params, ema=ema, opt_state=opt_state), metrics

    return update


def _prefetch(batch_at: Callable[[int], Batch], start: int, stop: int) -> Iterator[tuple[int, Batch]]:
    """Makes the next batch while the devices work on this one."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(batch_at, start) if start < stop else None
        for step in range(start, stop):
            batch = pending.result()
            pending = pool.submit(batch_at, step + 1) if step + 1 < stop else None
            yield step, batch


class _MetricsLog:
    """Averages metrics over ``every`` steps and appends them to a JSONL file, one line a report.

    Lines past the restored step are from work that was lost with the kill; they are dropped on resume.
    """

    def __init__(self, path: Path, start: int, every: int):
        self.path, self.every, self.pending, self.since = path, every, [], time.monotonic()
        self.writes = jax.process_index() == 0  # all hosts have the same numbers
        if self.writes and path.exists():
            lines = path.read_text().splitlines()
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= start]
            path.write_text("".join(line + "\n" for line in kept))

    def add(self, step: int, metrics: Metrics) -> None:
        self.pending.append(metrics)
        if step % self.every == 0:
            means = jax.tree.map(lambda *values: float(np.nanmean(np.stack(values))), *jax.device_get(self.pending))
            now = time.monotonic()
            self.write(step, {**means, "steps_per_second": len(self.pending) / (now - self.since)})
            self.pending, self.since = [], now

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if not self.writes:
            return
        line = {"step": step, **{k: float(v) for k, v in values.items()}}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        logging.info("step %d %s", step, " ".join(f"{k}={v:.4g}" for k, v in list(line.items())[1:]))
