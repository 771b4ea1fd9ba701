"""Multistep consistency sampling (Luo et al. 2310.04378)."""

import numpy as np

from .base import COMMON_DEFAULTS, NOISE, Grid, Row, TimestepSolver, X

_SIGMA_DATA = 0.5


class LCM(TimestepSolver):
    """Jump to clean with the consistency function, noise again to the next level; the last jump stays
    clean."""

    defaults = {
        **COMMON_DEFAULTS,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "original_inference_steps": 50,
        "clip_sample": False,
        "clip_sample_range": 1.0,
        "set_alpha_to_one": True,
        "thresholding": False,
        "timestep_spacing": "leading",
        "timestep_scaling": 10.0,
        "rescale_betas_zero_snr": False,
    }

    @property
    def max_steps(self) -> int:
        """The model was distilled on ``original_inference_steps`` times and is run on a subset of them."""
        return self.config["original_inference_steps"]

    def grid(self, steps: int) -> Grid:
        """``steps`` of the distilled times, T-1 first."""
        original = self.config["original_inference_steps"]
        times = np.arange(original, 0, -1) * (self.schedule.num_train_timesteps // original) - 1
        subset = np.linspace(0, original, steps, endpoint=False).astype(int)
        timestep = times[subset].astype(np.float64)
        alpha, sigma = self.level(timestep)
        return Grid.through(timestep, np.append(alpha, 1.0), np.append(sigma, 0.0))

    def rows(self, grid: Grid, first: int) -> list[Row]:
        """x' = alpha' f(x) + sigma' noise with f = c_skip x + c_out x_0."""
        rows = []
        for i in range(first, len(grid)):
            x0, clip = self.m0(grid.alpha[i], grid.sigma[i])
            scaled = grid.timestep[i] * self.config["timestep_scaling"]
            c_skip = _SIGMA_DATA**2 / (scaled**2 + _SIGMA_DATA**2)
            c_out = scaled / np.sqrt(scaled**2 + _SIGMA_DATA**2)
            rows.append(
                Row(
                    timestep=grid.timestep[i],
                    convert=self.x0(grid.alpha[i], grid.sigma[i]),
                    clip=clip,
                    x=grid.alpha_next[i] * (c_skip * X + c_out * x0) + grid.sigma_next[i] * NOISE,
                )
            )
        return rows
