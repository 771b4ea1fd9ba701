"""Every sampler is a table.

One network evaluation of any sampler here is linear in what it touches: the state x, one saved tensor, the
raw network output, the last four converted outputs m_0 (this evaluation's), m_1, m_2, m_3, and fresh noise. The
coefficients depend on the time grid alone. So a solver is a function from a grid to rows of coefficients, computed
on the host in float64, and one compiled loop (``img2img_jax.diffusion.sample``) runs the rows of every solver.

States are variance preserving, x = alpha x_0 + sigma eps. Samplers that others write for x / alpha (Euler,
Heun, LMS) are written here in that form; starts and ends agree.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .. import prediction, time_grid
from ..schedule import NoiseSchedule, floored

# The unit vectors of the space a row is linear in. Solvers add and scale them as their papers add and scale tensors.
BASIS = ("x", "saved", "output", "m0", "m1", "m2", "m3", "noise")
X, SAVED, OUTPUT, M0, M1, M2, M3, NOISE = np.eye(len(BASIS))
M = (M0, M1, M2, M3)

# The options every scheduler class of diffusers has, with the defaults most of them share.
COMMON_DEFAULTS: Mapping[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
    "steps_offset": 0,
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One network evaluation.

    Attributes:
        timestep: what the network is told, in [0, T-1].
        convert: (p, q): m_0 = clip(p x + q output).
        clip: m_0 is clipped to [-clip, clip]; inf for no clipping.
        x: [8] the next state on BASIS.
        saved: [8] the next saved tensor on BASIS.
    """

    timestep: float
    convert: tuple[float, float] = (0.0, 0.0)
    clip: float = math.inf
    x: np.ndarray
    saved: np.ndarray = dataclasses.field(default_factory=lambda: SAVED)

    @property
    def draws_noise(self) -> bool:
        """Whether the row adds fresh noise."""
        return bool(self.x[-1] != 0)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """The levels a run of n steps visits; every field is [n] float64.

    Step i evaluates the network at ``timestep[i]`` on a state at level (``alpha[i]``, ``sigma[i]``) and
    moves it to level (``alpha_next[i]``, ``sigma_next[i]``).
    """

    timestep: np.ndarray
    alpha: np.ndarray
    sigma: np.ndarray
    alpha_next: np.ndarray
    sigma_next: np.ndarray

    @classmethod
    def through(cls, timestep, alpha, sigma) -> "Grid":
        """The grid whose every step ends where the next begins; ``alpha`` and ``sigma`` are [n + 1]."""
        return cls(
            timestep=np.asarray(timestep, np.float64),
            alpha=alpha[:-1],
            sigma=sigma[:-1],
            alpha_next=alpha[1:],
            sigma_next=sigma[1:],
        )

    def __len__(self) -> int:
        return len(self.timestep)

    def levels(self, i: int) -> tuple[float, float, float, float]:
        """(alpha, sigma, alpha_next, sigma_next) of step ``i``."""
        return self.alpha[i], self.sigma[i], self.alpha_next[i], self.sigma_next[i]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Solver:
    """Time grids and rows of one sampler.

    Attributes:
        config: the scheduler's options, complete (see ``defaults``).
        schedule: the noise levels.
        eta: the share of DDPM's noise that DDIM adds, in [0, 1]; for ``uses_eta`` solvers.
    """

    config: Mapping[str, Any]
    schedule: NoiseSchedule
    eta: float = 0.0

    defaults: ClassVar[Mapping[str, Any]] = {}
    uses_eta: ClassVar[bool] = False
    rows_per_step: ClassVar[int] = 1

    def grid(self, steps: int) -> Grid:
        """The scheduler's own grid of ``steps`` steps over all times."""
        raise NotImplementedError

    def rows(self, grid: Grid, first: int) -> list[Row]:
        """The evaluations that run ``grid`` from its step ``first`` to the end."""
        raise NotImplementedError

    def entry(self, first: int) -> int:
        """The step of the grid at whose level a run from its step ``first`` starts."""
        return first

    def evaluations(self, steps: int) -> int:
        """The most network evaluations a run of ``steps`` steps takes."""
        return steps

    @property
    def max_steps(self) -> int:
        """The longest grid there is."""
        return self.schedule.num_train_timesteps

    def noise_scale(self, grid: Grid) -> float:
        """The standard deviation of the pure noise that a text-to-image run on ``grid`` starts from."""
        return 1.0

    def sample_scale(self, alpha: float) -> float:
        """What the sampler's own state at a level is multiplied by to give the variance preserving one."""
        return 1.0

    def continuous_grid(self, start: float, steps: int) -> Grid:
        """``steps`` steps from time ``start`` in (0, T] to clean, evenly in time or by Karras' rule."""
        times = time_grid.continuous(start, steps)
        if self.config.get("use_karras_sigmas"):
            first, last = self.schedule.noise_to_signal([start, 0])
            times = self.schedule.timestep(time_grid.karras(first, last, steps))
            times[0] = start  # exactly, not up to the rounding of the inverse
        timestep = np.minimum(times, self.schedule.num_train_timesteps - 1)  # the network knows no later one
        alpha, sigma = self.schedule.alpha(times), self.schedule.sigma(times)
        return Grid.through(timestep, np.append(alpha, 1.0), np.append(sigma, 0.0))

    def x0(self, alpha: float, sigma: float) -> tuple[float, float]:
        """(p, q) of x_0 = p x + q output at a level."""
        return prediction.x0_coefficients(self.config["prediction_type"], alpha, sigma)

    def epsilon(self, alpha: float, sigma: float) -> tuple[float, float]:
        """(p, q) of eps = p x + q output at a level."""
        return prediction.epsilon_coefficients(self.config["prediction_type"], alpha, sigma)


class TimestepSolver(Solver):
    """Solvers that step between entries of the schedule's table, at whole training steps."""

    def timesteps(self, steps: int) -> np.ndarray:
        """[N] whole training steps, falling."""
        spacing, total = self.config["timestep_spacing"], self.schedule.num_train_timesteps
        if spacing == "leading":
            return time_grid.leading(total, steps, self.config["steps_offset"])
        if spacing == "trailing":
            return time_grid.trailing(total, steps)
        if spacing == "linspace":
            return time_grid.linspace(total, steps, whole=True)
        raise time_grid.unknown_spacing(spacing)

    def level(self, timestep) -> tuple[np.ndarray, np.ndarray]:
        """(alpha, sigma) of table entries; before the first, the level the run ends at; after the last, the
        last."""
        index = np.minimum(np.asarray(timestep, np.int64), self.schedule.num_train_timesteps - 1)
        alphas_cumprod = np.where(index >= 0, self.schedule.alphas_cumprod[np.maximum(index, 0)], self.final)
        if self.config["prediction_type"] == "epsilon":
            # x_0 = (x - sigma eps) / alpha: the one conversion that an alpha of exactly 0 breaks.
            alphas_cumprod = floored(alphas_cumprod)
        return np.sqrt(alphas_cumprod), np.sqrt(1 - alphas_cumprod)

    @property
    def final(self) -> float:
        """alpha^2 where a run ends."""
        return 1.0 if self.config.get("set_alpha_to_one", True) else self.schedule.alphas_cumprod[0]

    def stride_grid(self, timestep: np.ndarray, stride: int) -> Grid:
        """The grid whose steps all go down by ``stride``, whether or not the next one begins there."""
        alpha, sigma = self.level(timestep)
        alpha_next, sigma_next = self.level(timestep - stride)
        return Grid(timestep=timestep, alpha=alpha, sigma=sigma, alpha_next=alpha_next, sigma_next=sigma_next)

    def m0(self, alpha: float, sigma: float) -> tuple[np.ndarray, float]:
        """The clean prediction on BASIS, and the clipping of it.

        Unclipped it is written in x and output directly, so that what cancels, cancels here and in float64.
        """
        if self.config.get("clip_sample"):
            return M0, self.config["clip_sample_range"]
        p, q = self.x0(alpha, sigma)
        return p * X + q * OUTPUT, math.inf


class SigmaSolver(Solver):
    """Solvers that step in sigma / alpha, also between entries of the schedule's table."""

    def grid(self, steps: int) -> Grid:
        """The scheduler's own grid of ``steps`` steps over all times."""
        timestep, ratio = self.timesteps(steps)
        ratio = np.append(ratio, self.final_ratio())
        return Grid.through(timestep, 1 / np.sqrt(1 + ratio**2), ratio / np.sqrt(1 + ratio**2))

    def timesteps(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """[N] times and [N] sigma / alpha, falling; the times may be fractional."""
        spacing, total = self.config["timestep_spacing"], self.schedule.num_train_timesteps
        if spacing == "leading":
            timestep = time_grid.leading(total, steps, self.config["steps_offset"])
        elif spacing == "trailing":
            timestep = time_grid.trailing(total, steps)
        elif spacing == "linspace":
            timestep = time_grid.linspace(total, steps, whole=False)
        else:
            raise time_grid.unknown_spacing(spacing)
        ratio = np.interp(timestep, np.arange(total), self.table())
        if self.config.get("use_karras_sigmas"):
            ratio = time_grid.karras(ratio[0], ratio[-1], steps)
            timestep = self.times_of(ratio)
        return timestep, ratio

    def table(self) -> np.ndarray:
        """[T] sigma / alpha at the whole training steps."""
        return self.schedule.noise_to_signal(np.arange(self.schedule.num_train_timesteps))

    def times_of(self, ratio: np.ndarray) -> np.ndarray:
        """Times whose sigma / alpha is ``ratio``, none beyond the table."""
        return np.minimum(self.schedule.timestep(ratio), self.schedule.num_train_timesteps - 1)

    def final_ratio(self) -> float:
        """sigma / alpha where a run ends."""
        kind = self.config.get("final_sigmas_type", "zero")
        if kind == "zero":
            return 0.0
        if kind == "sigma_min":
            return self.table()[0]
        raise ValueError(f"final_sigmas_type={kind!r} is not known; choose 'zero' or 'sigma_min'")


class ScaledSolver(SigmaSolver):
    """Solvers whose papers write the state as x / alpha (Karras et al. 2206.00364)."""

    def noise_scale(self, grid: Grid) -> float:
        """The first sigma, or 1 for leading spacing, which starts below the noisiest level; as in diffusers."""
        return 1.0 if self.config["timestep_spacing"] == "leading" else float(grid.sigma[0])

    def sample_scale(self, alpha: float) -> float:
        """The state is written as x / alpha."""
        return float(alpha)

    def scaled(self, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(alpha_next, s, s_next), [n] each: s = sigma / alpha, and ``alpha_next`` scales x / alpha back to x."""
        s, s_next = grid.sigma / grid.alpha, grid.sigma_next / grid.alpha_next
        alpha_next = grid.alpha_next.copy()
        alpha_next[-1] = 1.0  # the result is x / alpha, even where the last level still holds noise
        return alpha_next, s, s_next
