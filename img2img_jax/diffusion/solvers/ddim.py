"""DDIM (Song et al. 2010.02502)."""

import numpy as np

from .base import COMMON_DEFAULTS, NOISE, OUTPUT, Grid, Row, TimestepSolver, X


class DDIM(TimestepSolver):
    """Deterministic at eta = 0, DDPM's posterior variance at eta = 1 (equations 12 and 16)."""

    uses_eta = True
    defaults = {
        **COMMON_DEFAULTS,
        "clip_sample": True,
        "clip_sample_range": 1.0,
        "set_alpha_to_one": True,
        "thresholding": False,
        "timestep_spacing": "leading",
        "rescale_betas_zero_snr": False,
    }

    def grid(self, steps: int) -> Grid:
        """Steps of T // N, also under the spacings whose timesteps lie T / N apart."""
        return self.stride_grid(self.timesteps(steps), self.schedule.num_train_timesteps // steps)

    def rows(self, grid: Grid, first: int) -> list[Row]:
        """x' = alpha' x_0 + sqrt(sigma'^2 - std^2) eps + std noise."""
        return [self._row(grid, i) for i in range(first, len(grid))]

    def _row(self, grid: Grid, i: int) -> Row:
        alpha, sigma, alpha_next, sigma_next = grid.levels(i)
        x0, clip = self.m0(alpha, sigma)
        p, q = self.epsilon(alpha, sigma)
        variance = (sigma_next / sigma) ** 2 * (1 - (alpha / alpha_next) ** 2)
        std = self.eta * np.sqrt(max(variance, 0.0))
        direction = np.sqrt(max(sigma_next**2 - std**2, 0.0))
        return Row(
            timestep=grid.timestep[i],
            convert=self.x0(alpha, sigma),
            clip=clip,
            x=alpha_next * x0 + direction * (p * X + q * OUTPUT) + std * NOISE,
        )
