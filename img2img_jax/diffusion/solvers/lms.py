"""Linear multistep (Adams-Bashforth with variable steps) on d(x/alpha)/ds = eps, s = sigma / alpha; after
k-diffusion."""

import numpy as np

from .base import COMMON_DEFAULTS, Grid, M, Row, ScaledSolver, X

_ORDER = 4
# Gauss-Legendre quadrature: exact for the cubic through four derivatives.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(_ORDER)


class LMS(ScaledSolver):
    """Fourth-order multistep.

    Entered late on its grid it uses, as diffusers does, the coefficients of the step's place on the whole grid from
    the first step on, although the earlier derivatives do not exist. Its first three steps are then inconsistent.
    The continuous mode, which starts at the first step of its grid, is free of that.
    """

    defaults = {
        **COMMON_DEFAULTS,
        "use_karras_sigmas": False,
        "use_exponential_sigmas": False,
        "use_beta_sigmas": False,
        "timestep_spacing": "linspace",
    }

    def rows(self, grid: Grid, first: int) -> list[Row]:
        """One row a step; m_0 = eps."""
        alpha_next, s, s_next = self.scaled(grid)
        rows = []
        for i in range(first, len(grid)):
            order = min(i + 1, _ORDER)
            weights = multistep_weights(s[i - order + 1 : i + 1][::-1], s_next[i])
            known = min(order, i - first + 1)
            slope = sum(weights[k] * M[k] for k in range(known))
            rows.append(
                Row(
                    timestep=grid.timestep[i],
                    convert=self.epsilon(grid.alpha[i], grid.sigma[i]),
                    x=alpha_next[i] * (X / grid.alpha[i] + slope),
                )
            )
        return rows


def multistep_weights(nodes: np.ndarray, end: float) -> np.ndarray:
    """Integrals from ``nodes[0]`` to ``end`` of the Lagrange polynomials on ``nodes`` [k], newest first;
    [k]."""
    half = (end - nodes[0]) / 2
    tau = nodes[0] + half * (1 + _NODES)
    weights = np.empty(len(nodes))
    for k, node in enumerate(nodes):
        others = np.delete(nodes, k)
        weights[k] = half * np.sum(_WEIGHTS * np.prod((tau[:, None] - others) / (node - others), axis=1))
    return weights
