"""A denoiser whose every answer is known in closed form."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ..diffusion import prediction
from ..diffusion.forward import per_sample
from ..diffusion.schedule import NoiseSchedule


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AnalyticDenoiser:
    """The perfect network for Gaussian data, x_0 ~ N(mean, std^2) independently in every element.

    Then x_t = alpha x_0 + sigma eps is Gaussian too, N(alpha mean, alpha^2 std^2 + sigma^2); the best
    prediction is linear in x_t, and the probability-flow ODE (Song et al. 2011.13456) moves every element
    so that it keeps its quantile.

    Attributes:
        schedule: the noise levels behind the timesteps.
        prediction_type: what ``__call__`` returns: "epsilon", "v_prediction" or "sample".
        mean: of the data; a number or an array that broadcasts against [B, h, w, c].
        std: of the data, positive; like ``mean``.
    """

    schedule: NoiseSchedule
    prediction_type: str = "epsilon"
    mean: float | np.ndarray = 0.0
    std: float | np.ndarray = 1.0

    def __call__(self, x, timestep) -> jax.Array:
        """The best raw prediction [B, ...] at ``x`` [B, ...] and ``timestep`` [B], in [0, T]."""
        alpha, sigma = self.level(timestep)
        return self.predict(x, alpha, sigma)

    def predict(self, x, alpha, sigma) -> jax.Array:
        """The best raw prediction [B, ...] at ``x`` [B, ...]; ``alpha``, ``sigma``: scalar or [B]."""
        alpha, sigma = per_sample(alpha, x), per_sample(sigma, x)
        surprise = (x - alpha * self.mean) / (alpha**2 * self.std**2 + sigma**2)
        x0 = self.mean + alpha * self.std**2 * surprise
        return prediction.target(self.prediction_type, x0, sigma * surprise, alpha, sigma)

    def flow(self, x, start, end):
        """The probability-flow ODE's exact solution from ``x`` [B, ...] at level ``start`` to level ``end``.

        Args:
            x: [B, ...].
            start, end: pairs (alpha, sigma); (1, 0) is clean.

        Returns:
            [B, ...], of the precision of the arguments.
        """
        (alpha, sigma), (alpha_end, sigma_end) = start, end
        quantile = (x - alpha * self.mean) / (alpha**2 * self.std**2 + sigma**2) ** 0.5
        return alpha_end * self.mean + quantile * (alpha_end**2 * self.std**2 + sigma_end**2) ** 0.5

    def level(self, timestep) -> tuple[jax.Array, jax.Array]:
        """(alpha, sigma) at ``timestep`` (any shape, in [0, T]), traceable."""
        # The schedule's table at 0 ... T: between whole steps it is linear in log-SNR, so this is exact.
        times = np.arange(self.schedule.num_train_timesteps + 1)
        log_snr = jnp.interp(timestep, times, jnp.asarray(self.schedule.log_snr(times), jnp.float32))
        return jax.nn.sigmoid(log_snr) ** 0.5, jax.nn.sigmoid(-log_snr) ** 0.5
