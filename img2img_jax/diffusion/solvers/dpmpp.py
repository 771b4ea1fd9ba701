"""DPM-Solver++ 2M (Lu et al. 2211.01095) and its SDE version."""

import numpy as np

from .. import time_grid
from .base import COMMON_DEFAULTS, M0, M1, NOISE, Grid, Row, SigmaSolver, X


class WholeTimestepSolver(SigmaSolver):
    """Sigma solvers of diffusers that tell the network whole timesteps and divide [0, T) into N + 1 parts,
    not N."""

    @property
    def max_steps(self) -> int:
        """One less than T: the grid has one part more than steps."""
        return self.schedule.num_train_timesteps - 1

    def timesteps(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """[N] whole times and [N] sigma / alpha, falling; under Karras' rule only the times are rounded."""
        spacing, total = self.config["timestep_spacing"], self.schedule.num_train_timesteps
        if self.config["use_karras_sigmas"]:
            ratio = time_grid.karras(self.table()[-1], self.table()[0], steps)
            return self.whole(self.times_of(ratio)), ratio
        if spacing == "leading":
            timestep = time_grid.leading(total, steps + 1, self.config["steps_offset"])[:-1]
        elif spacing == "trailing":
            timestep = time_grid.trailing(total, steps)
        elif spacing == "linspace":
            timestep = time_grid.linspace(total, steps + 1, whole=True)[:-1]
        else:
            raise time_grid.unknown_spacing(spacing)
        return timestep, np.interp(timestep, np.arange(total), self.table())

    def whole(self, times: np.ndarray) -> np.ndarray:
        """Times made whole."""
        return times.round()


class DPMSolverPP2M(WholeTimestepSolver):
    """Second-order multistep in x_0, with first-order steps at the two ends."""

    defaults = {
        **COMMON_DEFAULTS,
        "solver_order": 2,
        "thresholding": False,
        "algorithm_type": "dpmsolver++",
        "solver_type": "midpoint",
        "lower_order_final": True,
        "euler_at_final": False,
        "use_karras_sigmas": False,
        "use_exponential_sigmas": False,
        "use_beta_sigmas": False,
        "use_lu_lambdas": False,
        "use_flow_sigmas": False,
        "final_sigmas_type": "zero",
        "lambda_min_clipped": -float("inf"),
        "variance_type": None,
        "timestep_spacing": "linspace",
        "rescale_betas_zero_snr": False,
    }

    def whole(self, times: np.ndarray) -> np.ndarray:
        """Times made whole: rounded, but cut off for the cosine schedule, as in diffusers."""
        return np.floor(times) if self.config["beta_schedule"] == "squaredcos_cap_v2" else times.round()

    def rows(self, grid: Grid, first: int) -> list[Row]:
        """One row a step; m_0 = x_0."""
        rows = []
        for i in range(first, len(grid)):
            multistep = i > first and self.config["solver_order"] == 2 and not self._ends_low(grid, i)
            rows.append(
                Row(
                    timestep=grid.timestep[i],
                    convert=self.x0(grid.alpha[i], grid.sigma[i]),
                    x=self._second_order(grid, i) if multistep else self._first_order(grid, i),
                )
            )
        return rows

    def _ends_low(self, grid: Grid, i: int) -> bool:
        if i < len(grid) - 1:
            return False
        short = self.config["lower_order_final"] and len(grid) < 15
        return short or self.config["euler_at_final"] or grid.sigma_next[i] == 0

    def _first_order(self, grid: Grid, i: int) -> np.ndarray:
        decay, weight, noise = self._step(grid, i)
        return decay * X + weight * M0 + noise * NOISE

    def _second_order(self, grid: Grid, i: int) -> np.ndarray:
        decay, weight, noise = self._step(grid, i)
        lambdas = np.log(grid.alpha / grid.sigma)
        h = np.log(grid.alpha_next[i] / grid.sigma_next[i]) - lambdas[i]
        r0 = (lambdas[i] - lambdas[i - 1]) / h
        difference = (M0 - M1) / r0
        return decay * X + weight * M0 + self._slope(grid, i, h, weight) * difference + noise * NOISE

    def _slope(self, grid: Grid, i: int, h: float, weight: float) -> float:
        if self.config["solver_type"] == "midpoint":
            return 0.5 * weight
        if self.config["algorithm_type"] == "sde-dpmsolver++":
            return grid.alpha_next[i] * (np.expm1(-2 * h) / (2 * h) + 1)
        return grid.alpha_next[i] * (np.expm1(-h) / h + 1)

    def _step(self, grid: Grid, i: int) -> tuple[float, float, float]:
        """(decay of x, weight of x_0, standard deviation of the noise), with exp(-h) = (s' / s) and s =
        sigma / alpha."""
        exp_h = grid.sigma_next[i] / grid.alpha_next[i] * grid.alpha[i] / grid.sigma[i]
        decay = grid.sigma_next[i] / grid.sigma[i]
        if self.config["algorithm_type"] == "sde-dpmsolver++":
            fresh = 1 - exp_h**2
            return decay * exp_h, grid.alpha_next[i] * fresh, grid.sigma_next[i] * np.sqrt(fresh)
        return decay, grid.alpha_next[i] * (1 - exp_h), 0.0
