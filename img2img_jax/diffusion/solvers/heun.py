"""Heun's second-order method (Karras et al. 2206.00364, algorithm 1)."""

from .base import COMMON_DEFAULTS, M0, M1, SAVED, Grid, Row, ScaledSolver, X


class Heun(ScaledSolver):
    """An Euler step, then the trapezoid rule over it: two evaluations a step, one at the last."""

    defaults = {
        **COMMON_DEFAULTS,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "use_karras_sigmas": False,
        "use_exponential_sigmas": False,
        "use_beta_sigmas": False,
        "clip_sample": False,
        "timestep_spacing": "linspace",
    }

    rows_per_step = 2

    def evaluations(self, steps: int) -> int:
        """Two a step, less the one at the end, where there is no noise level to evaluate at."""
        return 2 * steps - 1

    def rows(self, grid: Grid, first: int) -> list[Row]:
        """Pairs of rows; m_0 = eps, and the state before the step is saved for the second of the pair."""
        alpha_next, s, s_next = self.scaled(grid)
        rows = []
        for i in range(first, len(grid)):
            h = s_next[i] - s[i]
            rows.append(
                Row(
                    timestep=grid.timestep[i],
                    convert=self.epsilon(grid.alpha[i], grid.sigma[i]),
                    x=alpha_next[i] * (X / grid.alpha[i] + h * M0),
                    saved=X,
                )
            )
            if i + 1 < len(grid):
                rows.append(
                    Row(
                        timestep=grid.timestep[i + 1],
                        convert=self.epsilon(grid.alpha[i + 1], grid.sigma[i + 1]),
                        x=alpha_next[i] * (SAVED / grid.alpha[i] + h * (M1 + M0) / 2),
                    )
                )
        return rows
