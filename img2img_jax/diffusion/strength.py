"""What strength means. Nothing else in the package interprets it: the sampler takes a start.

strength 0    the output is the input; no network runs
strength 1    the start is pure noise (``noise_at_one="pure"``), or as diffusers does it, noise added to the image
              at the first timestep, where SD's schedule still lets it through (``"leak"``)
between       N = num_inference_steps, s = strength:
    truncate      the N-step grid of the scheduler, entered late: min(int(N s), N) steps, as in diffusers
    exact         an int(N / s)-step grid, its last N steps
    continuous    from exactly the time s T, the grid re-spaced to N steps (SDEdit's t_0, Meng et al. 2108.01073)
"""

import dataclasses
import math
import operator
from collections.abc import Sequence

import numpy as np

from ..arguments import number
from .handover import WHOLE, Handover
from .solvers import Grid, Row, Solver

MODES = ("truncate", "exact", "continuous")
NOISE_AT_ONE = ("pure", "leak")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResolvedStart:
    """Where one sample really started; plain numbers, meant to be recorded.

    Attributes:
        strength: as asked for, in [0, 1]; after a ``denoising_start`` f, 1 - f.
        mode: "truncate", "exact" or "continuous".
        noise_at_one: "pure" or "leak".
        num_inference_steps: as asked for.
        timestep: the training step of the start, in [0, T]; fractional in continuous mode and for some grids.
        alpha, sigma: the level of that step, alpha^2 + sigma^2 = 1.
        log_snr: log(alpha^2 / sigma^2); inf at strength 0.
        pure: the start is noise alone: the weight of the image is 0, although the level's alpha may not be.
        grid_steps: the length of the grid that was entered.
        start_index: the step of the grid at which it was entered.
        steps: solver steps run.
        network_evaluations: calls of the network (a guided call counts once).
        noise_draws: draws of fresh noise the solver makes on the way.
        denoising_start, denoising_end: as asked for (see ``img2img_jax.diffusion.handover``).
    """

    strength: float
    mode: str
    noise_at_one: str
    num_inference_steps: int
    timestep: float
    alpha: float
    sigma: float
    log_snr: float
    pure: bool
    grid_steps: int
    start_index: int
    steps: int
    network_evaluations: int
    noise_draws: int
    denoising_start: float | None = None
    denoising_end: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A resolved start with the rows that lead from it to the end.

    Attributes:
        start: where it starts.
        image_weight, noise_weight: x_start = image_weight x_0 + noise_weight noise.
        rows: the network evaluations, in order.
    """

    start: ResolvedStart
    image_weight: float
    noise_weight: float
    rows: list[Row]


def steps_run(num_inference_steps: int, strength: float) -> int:
    """Steps of the truncate mode: Stable Diffusion, SDXL and LCM pipelines of diffusers.

    In floating point as it stands, so that 50 steps at 0.58 run 28.
    """
    return min(int(num_inference_steps * strength), num_inference_steps)


def flow_steps_run(num_inference_steps: int, strength: float) -> int:
    """Steps of the truncate mode in the flow-matching pipelines of diffusers (SD3, Flux): rounds up, not
    down."""
    return num_inference_steps - int(max(num_inference_steps - num_inference_steps * strength, 0))


def per_sample(strength, batch_size: int | None = None) -> np.ndarray:
    """Checks a strength and gives every sample its own.

    Args:
        strength: a number or [B] numbers in [0, 1].
        batch_size: B, when it is known.

    Returns:
        [B] float64.

    Raises:
        ValueError: for a value outside [0, 1] or NaN (with its index), or another length than ``batch_size``.
    """
    if np.ndim(strength) > 1:
        raise ValueError(f"strength has shape {np.shape(strength)}; give one number or one per sample")
    several = np.ndim(strength) == 1
    values = np.float64([number("strength", each) for each in strength] if several else number("strength", strength))
    if values.ndim == 1 and (len(values) == 0 or batch_size not in (None, len(values))):
        raise ValueError(f"strength has {len(values)} values for {batch_size or 'no'} samples; give one, or one each")
    values = np.broadcast_to(values, values.shape or (batch_size or 1,))
    for index, value in enumerate(values):
        if not 0 <= value <= 1:
            raise ValueError(f"strength {value} at index {index} is not in the range [0, 1]")
    return values


def resolve(
    strength, num_inference_steps: int, solver: Solver, mode: str = "truncate", noise_at_one: str = "pure"
) -> list[ResolvedStart]:
    """Where every sample starts; arguments and errors as in ``runs``."""
    return [run.start for run in runs(strength, num_inference_steps, solver, mode, noise_at_one)]


def runs(
    strength,
    num_inference_steps: int,
    solver: Solver,
    mode: str = "truncate",
    noise_at_one: str = "pure",
    handover: Handover = WHOLE,
) -> Sequence[Run]:
    """Resolves every sample's strength to a start and the rows that follow from it.

    Args:
        strength: a number or [B] numbers in [0, 1].
        num_inference_steps: N, at least 1.
        solver: the sampler whose grid is entered.
        mode: one of ``MODES``.
        noise_at_one: one of ``NOISE_AT_ONE``.
        handover: which part of the schedule runs. A ``denoising_start`` f takes the place of the strengths, which are
            recorded as 1 - f, and goes with the mode "truncate" alone.

    Returns:
        One run per sample.

    Raises:
        ValueError: for a strength outside [0, 1] or NaN; for one so small that no step would run (truncate)
            or that the grid would be longer than the scheduler allows (exact); for N, a mode or a
            ``noise_at_one`` out of range; for a hand-over that leaves no step to run.
    """
    strengths = per_sample(strength)
    _check_options(num_inference_steps, solver, mode, noise_at_one)
    if handover.denoising_start is not None:
        if mode != "truncate":
            raise ValueError(
                f"strength_mode={mode!r} says nothing beside denoising_start={handover.denoising_start}, which enters "
                "the grid of num_inference_steps where another model left it; leave it out"
            )
        strengths = np.full_like(strengths, 1 - handover.denoising_start)
    made = {}
    for index, value in enumerate(strengths.tolist()):
        if value not in made:
            made[value] = _run(value, index, num_inference_steps, solver, mode, noise_at_one, handover)
    return [made[value] for value in strengths.tolist()]


def _run(
    strength: float, index: int, steps: int, solver: Solver, mode: str, noise_at_one: str, handover: Handover
) -> Run:
    asked = {"strength": strength, "mode": mode, "noise_at_one": noise_at_one, "num_inference_steps": steps}
    asked |= dataclasses.asdict(handover)
    if strength == 0:
        if (handover.denoising_end or 1) < 1:
            raise ValueError(
                f"strength 0 at index {index} has no noise left that denoising_end={handover.denoising_end} could "
                "leave in; leave one of the two out"
            )
        return _identity(asked)
    grid, first = _enter(strength, index, steps, solver, mode, handover)
    entry = solver.entry(first)
    timestep = strength * solver.schedule.num_train_timesteps if mode == "continuous" else float(grid.timestep[entry])
    rows = handover.cut(solver.rows(grid, first), grid, first, solver)
    alpha, sigma = float(grid.alpha[entry]), float(grid.sigma[entry])
    pure = strength == 1 and noise_at_one == "pure"
    start = ResolvedStart(
        **asked,
        timestep=timestep,
        alpha=alpha,
        sigma=sigma,
        log_snr=2 * (math.log(alpha) - math.log(sigma)) if alpha else -math.inf,
        pure=pure,
        grid_steps=len(grid),
        start_index=first,
        steps=min(max(len(grid) - first, 1), -(-len(rows) // solver.rows_per_step)),
        network_evaluations=len(rows),
        noise_draws=sum(row.draws_noise for row in rows),
    )
    weights = (0.0, solver.noise_scale(grid)) if pure else (alpha, sigma)
    if handover.denoising_start is not None:
        weights = (solver.sample_scale(alpha), 0.0)
    return Run(start=start, image_weight=weights[0], noise_weight=weights[1], rows=rows)


def _enter(strength: float, index: int, steps: int, solver: Solver, mode: str, handover: Handover) -> tuple[Grid, int]:
    """The grid, and the step at which it is entered."""
    if mode == "continuous":
        return solver.continuous_grid(strength * solver.schedule.num_train_timesteps, steps), 0
    if handover.denoising_start is not None:
        grid = solver.grid(steps)
        return grid, handover.first(grid, solver)
    enter = _enter_truncated if mode == "truncate" else _enter_exact
    length, first = enter(strength, index, steps, solver)
    grid = solver.grid(length)
    _check_timestep(float(grid.timestep[solver.entry(first)]), length, solver)
    return grid, first


def _identity(asked: dict) -> Run:
    start = ResolvedStart(
        **asked,
        timestep=0.0,
        alpha=1.0,
        sigma=0.0,
        log_snr=math.inf,
        pure=False,
        grid_steps=0,
        start_index=0,
        steps=0,
        network_evaluations=0,
        noise_draws=0,
    )
    return Run(start=start, image_weight=1.0, noise_weight=0.0, rows=[])


def _enter_truncated(strength: float, index: int, steps: int, solver: Solver) -> tuple[int, int]:
    run = steps_run(steps, strength)
    if run == 0:
        raise ValueError(
            f"strength {strength} at index {index} runs int({steps} * {strength}) = 0 of {steps} steps; in the range "
            f"(0, 1] use num_inference_steps >= {_steps_for(strength)} or strength >= {math.ceil(1e4 / steps) / 1e4}, "
            'or strength_mode="continuous", which runs all its steps at any strength'
        )
    return steps, steps - run


def _steps_for(strength: float) -> int:
    steps = math.ceil(1 / strength)
    return steps if steps_run(steps, strength) else steps + 1


def _enter_exact(strength: float, index: int, steps: int, solver: Solver) -> tuple[int, int]:
    length = int(min(steps / strength, solver.max_steps + 1))
    if length > solver.max_steps:
        # N / s must stay below max_steps + 1: the next larger number of six decimals is the first that surely does.
        smallest = math.floor(1e6 * steps / (solver.max_steps + 1) + 1) / 1e6
        raise ValueError(
            f"strength {strength} at index {index} needs a grid of {steps / strength:.6g} steps, more than the "
            f"{solver.max_steps} of this scheduler; in the range (0, 1] the smallest strength for {steps} steps is "
            f'{smallest}; use that, fewer steps, or strength_mode="continuous"'
        )
    return length, length - steps


def _check_options(steps: int, solver: Solver, mode: str, noise_at_one: str) -> None:
    if mode not in MODES:
        raise ValueError(f"strength_mode={mode!r} is not known; choose one of {', '.join(MODES)}")
    if noise_at_one not in NOISE_AT_ONE:
        raise ValueError(f"noise_at_one={noise_at_one!r} is not known; choose one of {', '.join(NOISE_AT_ONE)}")
    try:
        whole = operator.index(steps) >= 1
    except TypeError:
        whole = False
    if not whole:
        raise ValueError(f"num_inference_steps={steps!r} must be a whole number, 1 or more")
    if mode != "continuous" and steps > solver.max_steps:
        raise ValueError(
            f"num_inference_steps={steps} is more than the {solver.max_steps} steps this scheduler has; use fewer, or "
            'strength_mode="continuous"'
        )


def _check_timestep(timestep: float, length: int, solver: Solver) -> None:
    last = solver.schedule.num_train_timesteps - 1
    if timestep > last:
        raise ValueError(
            f"the {length}-step grid starts at training step {timestep:g}, but the last one is {last}; use fewer "
            "inference steps"
        )
