"""The metrics that were named, and the inputs of a plan that cannot have them."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from absl import logging

from img2img_jax.metrics import Evaluator
from img2img_jax.runs.plan import Plan, Trial

Evaluate: TypeAlias = Callable[..., Mapping[str, Any]]


def check_metrics(evaluate: Evaluate | None, plan: Plan) -> None:
    """Warns of the metrics that were named and that some inputs cannot have.

    Raises:
      ValueError: no input at all can have one of them.
    """
    pictures, obstacles = collections.Counter[str](), {}
    for batch in plan.batches:
        for name, obstacle in _obstacles(evaluate, batch.trials[0]).items():
            pictures[name] += len(batch.trials)
            obstacles.setdefault(name, obstacle)
    for name, count in pictures.items():
        if count == len(plan.trials):
            raise ValueError(obstacles[name])
        logging.warning("%d of %d pictures go without a metric: %s", count, len(plan.trials), obstacles[name])


def suited(evaluate: Evaluate | None, trial: Trial, *, latents: bool = True) -> Evaluate | None:
    """``evaluate`` without the metrics that were named and that a trial, and those of its batch, cannot have.

    Args:
      latents: whether those of input and output will be there.
    """
    obstacles = _obstacles(evaluate, trial, latents=latents)
    return evaluate.only(*(name for name in evaluate.names if name not in obstacles)) if obstacles else evaluate


def _obstacles(evaluate: Evaluate | None, trial: Trial, *, latents: bool = True) -> Mapping[str, str]:
    """Why the trial cannot have metrics, by their names; nothing of an ``evaluate`` that leaves them out by itself."""
    if not isinstance(evaluate, Evaluator) or evaluate.names is None:
        return {}
    pixels = trial.sample.pixels[None]
    return evaluate.obstacles(
        source=pixels,
        output=pixels,
        prompt=trial.sample.prompt,
        source_prompt=trial.input.source_prompt,
        mask=trial.input.mask,
        **dict.fromkeys(("source_latents", "output_latents"), pixels if latents else None),
    )
