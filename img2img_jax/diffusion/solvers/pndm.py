"""PLMS: pseudo linear multistep (Liu et al. 2202.09778) without Runge-Kutta steps, as Stable Diffusion uses
it."""

import dataclasses

import numpy as np

from .base import COMMON_DEFAULTS, M0, M1, M2, M3, SAVED, Grid, Row, TimestepSolver, X

# Combinations of outputs by the number of evaluations so far. The second evaluation (1) repeats the first
# step with the mean of both its ends and is then forgotten; until four others are known the first output
# waits in SAVED.
_COMBINATIONS = (
    M0,
    (M0 + M1) / 2,
    (3 * M0 - SAVED) / 2,
    (23 * M0 - 16 * M1 + 5 * SAVED) / 12,
    (55 * M0 - 59 * M1 + 37 * M2 - 9 * SAVED) / 24,
    (55 * M0 - 59 * M1 + 37 * M2 - 9 * M3) / 24,
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PlmsGrid(Grid):
    """A grid that also knows the level one stride before each of its steps; [n] float64."""

    alpha_before: np.ndarray
    sigma_before: np.ndarray


class PNDM(TimestepSolver):
    """Fourth-order multistep in the network's output; the first step takes two evaluations.

    Entered late, diffusers cuts the sequence of timesteps 0, 1, 1, 2, 3, ... behind its repetition. The run
    then starts one step noisier than it should, and from its third evaluation on each step is taken as if
    from the level below the one the state is at. That is reproduced here. The continuous mode, which starts
    at the first step of its grid, is free of it.

    Second order for epsilon, as the paper's pseudo-numerical methods are; first order for v_prediction, which
    diffusers combines as v and turns into eps only afterwards.
    """

    defaults = {
        **COMMON_DEFAULTS,
        "timestep_spacing": "leading",
        "skip_prk_steps": False,
        "set_alpha_to_one": False,
    }

    def evaluations(self, steps: int) -> int:
        """One more than steps."""
        return steps + 1

    def entry(self, first: int) -> int:
        """Behind the repetition the sequence lags one step."""
        return max(first - 1, min(first, 1))

    def grid(self, steps: int) -> PlmsGrid:
        """Steps of T // N, also under the spacings whose timesteps lie T / N apart."""
        timestep, stride = self.timesteps(steps), self.schedule.num_train_timesteps // steps
        alpha_before, sigma_before = self.level(timestep + stride)
        grid = self.stride_grid(timestep, stride)
        return PlmsGrid(**vars(grid), alpha_before=alpha_before, sigma_before=sigma_before)

    def continuous_grid(self, start: float, steps: int) -> PlmsGrid:
        """As for every solver; one stride before a step is where the previous one began."""
        grid = super().continuous_grid(start, steps)
        before = np.maximum(np.arange(steps) - 1, 0)
        return PlmsGrid(**vars(grid), alpha_before=grid.alpha[before], sigma_before=grid.sigma[before])

    def rows(self, grid: PlmsGrid, first: int) -> list[Row]:
        """One row an evaluation, over the steps 0, 1, 1, 2, 3, ... cut at ``first``."""
        steps = np.arange(len(grid))
        sequence = np.concatenate([steps[:2], steps[1:]])[first:]
        return [self._row(grid, i, count) for count, i in enumerate(sequence)]

    def _row(self, grid: PlmsGrid, i: int, count: int) -> Row:
        here, below = (grid.alpha[i], grid.sigma[i]), (grid.alpha_next[i], grid.sigma_next[i])
        repeats = count == 1
        level, goal = ((grid.alpha_before[i], grid.sigma_before[i]), here) if repeats else (here, below)
        return Row(
            timestep=grid.timestep[i],
            convert=self._output(*here),
            x=self._transfer(level, goal, SAVED if repeats else X, _COMBINATIONS[min(count, 5)]),
            saved=(X, M1)[count] if count < 2 else SAVED,
        )

    def _output(self, alpha: float, sigma: float) -> tuple[float, float]:
        # v is combined as v and turned into eps at the state it is applied to; x_0 would not extrapolate,
        # eps does.
        return self.epsilon(alpha, sigma) if self.config["prediction_type"] == "sample" else (0.0, 1.0)

    def _transfer(self, level, goal, state: np.ndarray, output: np.ndarray) -> np.ndarray:
        (alpha, sigma), (alpha_next, sigma_next) = level, goal
        eps = alpha * output + sigma * state if self.config["prediction_type"] == "v_prediction" else output
        return alpha_next / alpha * state + (sigma_next - alpha_next * sigma / alpha) * eps
