"""DDPM's ancestral sampling (Ho et al. 2006.11239), on any subset of the training steps."""

import dataclasses

import numpy as np

from .base import NOISE, Grid, Row, TimestepSolver, X
from .ddim import DDIM

# Variances that are no business of the network. None is what the file of a DPM-Solver says; DDPM then takes the first.
FIXED_VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", None)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DDPMGrid(Grid):
    """A grid that also knows which of its steps may add noise; [n] bool."""

    noisy: np.ndarray


class DDPM(TimestepSolver):
    """x' ~ q(x' | x, x_0) with the predicted x_0 (equations 6 and 7)."""

    defaults = {
        **{key: value for key, value in DDIM.defaults.items() if key != "set_alpha_to_one"},
        "variance_type": "fixed_small",
    }

    def grid(self, steps: int) -> DDPMGrid:
        """The grid through the spacing's timesteps, to the clean level. Noise at every training step but 0, as in
        diffusers: with "fixed_large" and a last step after 0, some is left in the result."""
        timestep = self.timesteps(steps)
        alpha, sigma = self.level(timestep)
        grid = Grid.through(timestep, np.append(alpha, 1.0), np.append(sigma, 0.0))
        return DDPMGrid(**vars(grid), noisy=timestep > 0)

    def continuous_grid(self, start: float, steps: int) -> DDPMGrid:
        """As for every solver: it ends clean, with every variance."""
        grid = super().continuous_grid(start, steps)
        return DDPMGrid(**vars(grid), noisy=grid.sigma_next > 0)

    def rows(self, grid: DDPMGrid, first: int) -> list[Row]:
        """One row a step."""
        return [self._row(grid, i) for i in range(first, len(grid))]

    def _row(self, grid: DDPMGrid, i: int) -> Row:
        alpha, sigma, alpha_next, sigma_next = grid.levels(i)
        x0, clip = self.m0(alpha, sigma)
        beta = 1 - (alpha / alpha_next) ** 2
        variance = beta if self.config["variance_type"] == "fixed_large" else (sigma_next / sigma) ** 2 * beta
        std = np.sqrt(variance) if grid.noisy[i] else 0.0
        mean = alpha_next * beta / sigma**2 * x0 + alpha / alpha_next * (sigma_next / sigma) ** 2 * X
        return Row(timestep=grid.timestep[i], convert=self.x0(alpha, sigma), clip=clip, x=mean + std * NOISE)
