"""Equal work: how many steps a sampler may take for a number of network evaluations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.sweep import Settings

MOST_STEPS = 1000


def settings_for(
    settings: Sequence[Settings], evaluations: int, strength: float, make_scheduler: Callable[[str | None], Scheduler]
) -> list[Settings]:
    """Each of ``settings`` with the most steps that take at most ``evaluations`` network evaluations from ``strength``.

    In truncate mode a strength s takes N s of N steps, so that N is larger than the budget; two evaluations a step
    (Heun) halve it. At strength 0 nothing is run, and the number of steps is the budget.

    Args:
      make_scheduler: of a sampler's name (``Scheduler.from_config`` with the checkpoint's configuration).

    Raises:
      ValueError: not even one step fits.
    """
    return [
        dataclasses.replace(
            each, num_inference_steps=_steps(each, evaluations, strength, make_scheduler(each.scheduler))
        )
        for each in settings
    ]


def _steps(settings: Settings, budget: int, strength: float, scheduler: Scheduler) -> int:
    if strength == 0:
        return budget

    def fits(steps: int) -> bool:
        try:
            _, [start] = scheduler.table([strength], steps, mode=settings.strength_mode)
        except ValueError:  # too few for one step from here, or too many for the training schedule
            return steps * strength < 1
        return start.network_evaluations <= budget

    low, high = 1, min(int((budget + 1) / strength) + 2, MOST_STEPS)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    if not fits(low):
        raise ValueError(f"{budget} network evaluations are too few for a step of {settings.scheduler}; allow more")
    return low
