"""UniPC: a unified predictor-corrector (Zhao et al. 2302.04867), multistep, in x_0."""

import math

import numpy as np

from .base import COMMON_DEFAULTS, M0, SAVED, Grid, M, Row, X
from .dpmpp import WholeTimestepSolver


class UniPC(WholeTimestepSolver):
    """Each evaluation first corrects the state it was made at (UniC), then predicts the next (UniP)."""

    defaults = {
        **COMMON_DEFAULTS,
        "solver_order": 2,
        "thresholding": False,
        "predict_x0": True,
        "solver_type": "bh2",
        "lower_order_final": True,
        "disable_corrector": (),
        "solver_p": None,
        "use_karras_sigmas": False,
        "use_exponential_sigmas": False,
        "use_beta_sigmas": False,
        "use_flow_sigmas": False,
        "timestep_spacing": "linspace",
        "final_sigmas_type": "zero",
        "rescale_betas_zero_snr": False,
        "sigma_min": None,
        "sigma_max": None,
    }

    def rows(self, grid: Grid, first: int) -> list[Row]:
        """One row a step; m_0 = x_0, and the corrected state is saved for the next correction."""
        lambdas = np.log(grid.alpha / grid.sigma)
        rows, order = [], 0
        for i in range(first, len(grid)):
            corrects = i > first and i - 1 not in self.config["disable_corrector"]
            state = self._correct(grid, lambdas, i, order) if corrects else X
            order = self._order(grid, i, known=i - first + 1)
            rows.append(
                Row(
                    timestep=grid.timestep[i],
                    convert=self.x0(grid.alpha[i], grid.sigma[i]),
                    x=self._predict(grid, lambdas, i, order, state),
                    saved=state,
                )
            )
        return rows

    def _order(self, grid: Grid, i: int, known: int) -> int:
        order = self.config["solver_order"]
        if self.config["lower_order_final"]:
            order = min(order, len(grid) - i)
        return min(order, known)

    def _predict(self, grid: Grid, lambdas: np.ndarray, i: int, order: int, state: np.ndarray) -> np.ndarray:
        """UniP-p: from step i to the next level, with m_0 ... m_{p-1}."""
        alpha_next, sigma_next = grid.alpha_next[i], grid.sigma_next[i]
        if sigma_next == 0:
            return alpha_next * M0  # the limit h -> inf at first order; higher orders have none
        h = np.log(alpha_next / sigma_next) - lambdas[i]
        r = (lambdas[i - np.arange(1, order)] - lambdas[i]) / h
        b_h, matrix, b = self._system(h, np.append(r, 1.0))
        rho = [0.5] if order == 2 else np.linalg.solve(matrix[:-1, :-1], b[:-1])
        residual = sum(rho[k] * (M[k + 1] - M0) / r[k] for k in range(order - 1))
        return sigma_next / grid.sigma[i] * state - alpha_next * (np.expm1(-h) * M0 + b_h * residual)

    def _correct(self, grid: Grid, lambdas: np.ndarray, i: int, order: int) -> np.ndarray:
        """UniC-p: step i - 1 again, now that m_0 at its end is known beside m_1 ... m_p."""
        h = lambdas[i] - lambdas[i - 1]
        r = (lambdas[i - 1 - np.arange(1, order)] - lambdas[i - 1]) / h
        b_h, matrix, b = self._system(h, np.append(r, 1.0))
        rho = [0.5] if order == 1 else np.linalg.solve(matrix, b)
        start = M[1]
        residual = sum(rho[k] * (M[k + 2] - start) / r[k] for k in range(order - 1)) + rho[-1] * (M0 - start)
        state = grid.sigma[i] / grid.sigma[i - 1] * SAVED
        return state - grid.alpha[i] * (np.expm1(-h) * start + b_h * residual)

    def _system(self, h: float, r: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """(B(h), R, b) of R rho = b, for data prediction: the paper's h is -h here."""
        b_h = -h if self.config["solver_type"] == "bh1" else np.expm1(-h)
        phi = np.expm1(-h) / -h - 1
        b = []
        for k in range(1, len(r) + 1):
            b.append(phi * math.factorial(k) / b_h)
            phi = phi / -h - 1 / math.factorial(k + 1)
        return b_h, np.vander(r, increasing=True).T, np.array(b)
