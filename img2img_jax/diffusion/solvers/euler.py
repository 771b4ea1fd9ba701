"""Euler and Euler ancestral (Karras et al. 2206.00364, algorithm 1; ancestral steps after k-diffusion)."""

import numpy as np

from .base import COMMON_DEFAULTS, NOISE, OUTPUT, Grid, Row, ScaledSolver, X


class Euler(ScaledSolver):
    """First-order steps of the probability-flow ODE d(x/alpha)/ds = eps, s = sigma / alpha."""

    defaults = {
        **COMMON_DEFAULTS,
        "interpolation_type": "linear",
        "use_karras_sigmas": False,
        "use_exponential_sigmas": False,
        "use_beta_sigmas": False,
        "sigma_min": None,
        "sigma_max": None,
        "timestep_spacing": "linspace",
        "timestep_type": "discrete",
        "rescale_betas_zero_snr": False,
        "final_sigmas_type": "zero",
    }

    def rows(self, grid: Grid, first: int) -> list[Row]:
        """x' / alpha' = x / alpha + (s_down - s) eps + s_up noise."""
        alpha_next, s, s_next = self.scaled(grid)
        s_down, s_up = self.split(s, s_next)
        rows = []
        for i in range(first, len(grid)):
            p, q = self.epsilon(grid.alpha[i], grid.sigma[i])
            step = X / grid.alpha[i] + (s_down[i] - s[i]) * (p * X + q * OUTPUT) + s_up[i] * NOISE
            rows.append(Row(timestep=grid.timestep[i], x=alpha_next[i] * step))
        return rows

    def split(self, s: np.ndarray, s_next: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(s_down, s_up): how far the ODE step goes, and the noise that brings it back up to ``s_next``."""
        return s_next, np.zeros_like(s_next)


class EulerAncestral(Euler):
    """Euler steps below the next level, then fresh noise up to it."""

    defaults = {
        **COMMON_DEFAULTS,
        "timestep_spacing": "linspace",
        "rescale_betas_zero_snr": False,
    }

    def split(self, s: np.ndarray, s_next: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The split at which the noise added is the DDPM posterior's: s_down^2 + s_up^2 = s_next^2."""
        s_up = s_next * np.sqrt(1 - (s_next / s) ** 2)
        return s_next**2 / s, s_up
