"""Noise schedules: the amounts of image and noise at every time.

A noisy latent is ``x_t = alpha(t) x_0 + sigma(t) noise`` with ``alpha^2 + sigma^2 = 1`` (variance
preserving), where ``alpha(t)^2`` is the running product of ``1 - beta`` (Ho et al. 2006.11239). ``t``
counts training steps: the entry ``t`` of the table is the level the network was trained on under that
number, and fractional times lie between two entries.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")

MAX_STEPS = 100_000
"""More training steps than any schedule has; tables are as long."""

# What interpolation, and conversions that divide by alpha, take for an alpha^2 of exactly 0 (log-SNR -inf), which is
# how a zero-terminal-SNR table ends.
ALPHAS_CUMPROD_FLOOR = 2.0**-24


def floored(alphas_cumprod: np.ndarray) -> np.ndarray:
    """``alphas_cumprod`` with 2^-24 in place of 0."""
    return np.where(alphas_cumprod == 0, ALPHAS_CUMPROD_FLOOR, alphas_cumprod)


def linear_betas(start: float, end: float, steps: int) -> np.ndarray:
    """Betas in equal steps (Ho et al. 2006.11239)."""
    return np.linspace(start, end, steps, dtype=np.float32)


def scaled_linear_betas(start: float, end: float, steps: int) -> np.ndarray:
    """Betas whose square roots go in equal steps: the schedule of Stable Diffusion (Rombach et al.
    2112.10752)."""
    return np.linspace(start**0.5, end**0.5, steps, dtype=np.float32) ** 2


def squaredcos_betas(steps: int, largest: float = 0.999) -> np.ndarray:
    """Betas of the cosine schedule (Nichol & Dhariwal 2102.09672), none above ``largest``."""
    alpha_bar = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
    return np.array([min(1 - alpha_bar[i + 1] / alpha_bar[i], largest) for i in range(steps)], np.float32)


def ending_at(betas: np.ndarray, last: float) -> np.ndarray:
    """Shifts and scales a schedule's alphas so that the last one, the weight of the image there, is ``last``.

    Args:
        betas: [T], each in (0, 1).
        last: in [0, 1).

    Returns:
        [T] betas.
    """
    alpha = np.sqrt(_cumulative_product(betas))
    alpha = (alpha - alpha[-1]) * ((alpha[0] - last) / (alpha[0] - alpha[-1])) + last
    alphas_cumprod = alpha**2
    return 1 - np.concatenate([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])


def zero_terminal_snr(betas: np.ndarray) -> np.ndarray:
    """A schedule [T] shifted and scaled so that its last entry is pure noise (Lin et al. 2305.08891, algorithm 1)."""
    return ending_at(betas, 0.0)


def _cumulative_product(betas: np.ndarray) -> np.ndarray:
    # Rounded to float32 because that is the table checkpoints were trained with; the product itself is exact.
    return np.cumprod((1 - betas).astype(np.float64)).astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NoiseSchedule:
    """A table of noise levels, continued to fractional times.

    Between entries ``log(sigma / alpha)`` is interpolated linearly; past the last entry it is continued
    along the last segment, so that every time in [0, T] has a level of its own. Where the table ends in
    alpha = 0 the interpolation takes alpha^2 = 2^-24 for it.

    Attributes:
        alphas_cumprod: [T] float64, alpha^2 at the integer times 0 .. T-1, falling.
    """

    alphas_cumprod: np.ndarray

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "NoiseSchedule":
        """Reads the schedule's entries of a diffusers ``scheduler_config.json``.

        Args:
            config: ``num_train_timesteps``, ``beta_schedule``, ``beta_start``, ``beta_end``, and optionally
                ``trained_betas`` (which then wins) and ``rescale_betas_zero_snr``.

        Raises:
            ValueError: for an unknown ``beta_schedule`` or ``trained_betas`` of another length than
                ``num_train_timesteps``; for numbers that make no schedule.
        """
        steps = config.get("num_train_timesteps")
        if isinstance(steps, bool) or not isinstance(steps, int) or not 2 <= steps <= MAX_STEPS:
            raise ValueError(f"num_train_timesteps={steps!r} is not a whole number from 2 to {MAX_STEPS}")
        try:
            for name in ("beta_start", "beta_end"):
                if config.get(name) is not None and not 0 <= config[name] <= 1:
                    raise ValueError(f"{name}={config[name]} is not in (0, 1)")
            betas = _betas_from_config(config)
        except TypeError as error:
            raise ValueError(f"betas of another type than numbers: {error}") from error
        if not ((betas >= 0) & (betas <= 1)).all() or not 0 < betas[0] < 1:
            raise ValueError(f"betas from {betas.min()} to {betas.max()}, the first {betas[0]}: give some in (0, 1)")
        if config.get("rescale_betas_zero_snr"):
            betas = zero_terminal_snr(betas)
        return cls(alphas_cumprod=_cumulative_product(betas).astype(np.float64))

    @property
    def num_train_timesteps(self) -> int:
        """T, the number of entries."""
        return len(self.alphas_cumprod)

    def noise_to_signal(self, t) -> np.ndarray:
        """sigma / alpha at times ``t`` (any shape, in [0, T]): the "sigma" of Karras et al. (2206.00364).
        float64."""
        return np.exp(self._log_noise_to_signal(t))

    def alpha(self, t) -> np.ndarray:
        """The weight of the image at times ``t`` (any shape, in [0, T]), float64."""
        return 1 / np.sqrt(1 + self.noise_to_signal(t) ** 2)

    def sigma(self, t) -> np.ndarray:
        """The weight of the noise at times ``t`` (any shape, in [0, T]), float64."""
        return 1 / np.sqrt(1 + self.noise_to_signal(t) ** -2)

    def log_snr(self, t) -> np.ndarray:
        """log(alpha^2 / sigma^2) at times ``t`` (any shape, in [0, T]), float64, strictly falling in
        ``t``."""
        return -2 * self._log_noise_to_signal(t)

    def timestep(self, noise_to_signal) -> np.ndarray:
        """The time whose sigma / alpha is given (any shape, positive): the inverse of ``noise_to_signal``.

        Values below the table's first entry give time 0.
        """
        log_ratio, table = np.log(noise_to_signal), self._log_table()
        inside = np.interp(log_ratio, table, np.arange(len(table)))
        beyond = (log_ratio - table[-1]) / (table[-1] - table[-2])
        return inside + np.maximum(beyond, 0)

    def _log_noise_to_signal(self, t) -> np.ndarray:
        t, table = np.asarray(t, np.float64), self._log_table()
        inside = np.interp(t, np.arange(len(table)), table)
        return inside + np.maximum(t - (len(table) - 1), 0) * (table[-1] - table[-2])

    def _log_table(self) -> np.ndarray:
        a = floored(self.alphas_cumprod)
        return 0.5 * (np.log1p(-a) - np.log(a))


def _betas_from_config(config: Mapping[str, Any]) -> np.ndarray:
    name, steps = config["beta_schedule"], config["num_train_timesteps"]
    if config.get("trained_betas") is not None:
        betas = np.asarray(config["trained_betas"], np.float32)
        if betas.shape != (steps,):
            raise ValueError(f"trained_betas has shape {betas.shape}; num_train_timesteps={steps} needs ({steps},)")
        return betas
    if name == "linear":
        return linear_betas(config["beta_start"], config["beta_end"], steps)
    if name == "scaled_linear":
        return scaled_linear_betas(config["beta_start"], config["beta_end"], steps)
    if name == "squaredcos_cap_v2":
        return squaredcos_betas(steps)
    raise ValueError(f"beta_schedule={name!r} is not known; choose one of {', '.join(BETA_SCHEDULES)}")
