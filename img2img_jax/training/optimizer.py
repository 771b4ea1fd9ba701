"""AdamW with a warm-up and a cosine tail."""

from __future__ import annotations

import dataclasses

import jax
import optax


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """What the optimiser needs to know; ``steps`` is where the cosine reaches ``final_fraction``.

    Attributes:
      learning_rate: peak value.
      warmup_steps: linear ramp from 0.
      steps: total steps of the schedule; training on beyond them stays at the final value.
      final_fraction: last learning rate as a fraction of the peak.
      weight_decay: decoupled (Loshchilov & Hutter 1711.05101), on matrices and kernels only.
      clip_norm: gradients are scaled down to this global norm.
    """

    learning_rate: float
    steps: int
    warmup_steps: int = 200
    final_fraction: float = 0.02
    weight_decay: float = 0.01
    b2: float = 0.99
    clip_norm: float = 1.0


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """AdamW as ``config`` says."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0,
        config.learning_rate,
        config.warmup_steps,
        max(config.steps, config.warmup_steps + 1),
        config.learning_rate * config.final_fraction,
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            schedule,
            b2=config.b2,
            weight_decay=config.weight_decay,
            # Norm scales and biases are vectors; decaying them only fights the norms.
            mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
        ),
    )
