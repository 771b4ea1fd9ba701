"""DDPM's ancestral sampling (Ho et al. 2006.11239), on any subset of the training steps."""

import numpy as np

from .base import NOISE, Grid, Row, TimestepSolver, X
from .ddim import DDIM

# The standard deviation of the step, from (posterior variance, beta) of equation 7 and section 3.2.
_STANDARD_DEVIATIONS = {
    "fixed_small": lambda posterior, beta: np.sqrt(posterior),
    "fixed_small_log": lambda posterior, beta: np.sqrt(posterior),
    "fixed_large": lambda posterior, beta: np.sqrt(beta),
}


class DDPM(TimestepSolver):
    """x' ~ q(x' | x, x_0) with the predicted x_0 (equations 6 and 7)."""

    defaults = {
        **{key: value for key, value in DDIM.defaults.items() if key != "set_alpha_to_one"},
        "variance_type": "fixed_small",
    }

    def grid(self, steps: int) -> Grid:
        """The grid through the spacing's timesteps; it ends clean."""
        timestep = self.timesteps(steps)
        alpha, sigma = self.level(timestep)
        return Grid.through(timestep, np.append(alpha, 1.0), np.append(sigma, 0.0))

    def rows(self, grid: Grid, first: int) -> list[Row]:
        """One row a step; no noise is drawn at training step 0."""
        return [self._row(grid, i) for i in range(first, len(grid))]

    def _row(self, grid: Grid, i: int) -> Row:
        alpha, sigma, alpha_next, sigma_next = grid.levels(i)
        x0, clip = self.m0(alpha, sigma)
        beta = 1 - (alpha / alpha_next) ** 2
        posterior = (sigma_next / sigma) ** 2 * beta
        std = _STANDARD_DEVIATIONS[self.config["variance_type"]](posterior, beta) if grid.timestep[i] > 0 else 0.0
        mean = alpha_next * beta / sigma**2 * x0 + alpha / alpha_next * (sigma_next / sigma) ** 2 * X
        return Row(timestep=grid.timestep[i], convert=self.x0(alpha, sigma), clip=clip, x=mean + std * NOISE)
