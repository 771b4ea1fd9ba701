"""Which training steps a run of N steps visits, noisiest first.

The three spacings are those compared by Lin et al. (2305.08891, table 2), with T = ``num_train_timesteps``:
    leading    0, T//N, 2 T//N, ...: starts below the noisiest level
    trailing   T-1, T-1-T/N, ...: starts at the noisiest level
    linspace   from T-1 to 0, both included
Every function returns [N] float64, falling.
"""

import numpy as np

SPACINGS = ("leading", "trailing", "linspace")


def leading(num_train_timesteps: int, steps: int, offset: int = 0) -> np.ndarray:
    """Multiples of T // N, shifted by ``offset`` (Stable Diffusion uses 1)."""
    stride = num_train_timesteps // steps
    return np.arange(steps)[::-1] * float(stride) + offset


def trailing(num_train_timesteps: int, steps: int) -> np.ndarray:
    """Backwards from T - 1 in steps of T / N, rounded to whole steps."""
    # The length is fixed: arange with a fractional step may return one element more, at time -1.
    return np.arange(num_train_timesteps, 0, -num_train_timesteps / steps).round()[:steps] - 1


def linspace(num_train_timesteps: int, steps: int, whole: bool) -> np.ndarray:
    """From T - 1 down to 0 in equal steps, rounded to ``whole`` steps or not."""
    times = np.linspace(0, num_train_timesteps - 1, steps, dtype=np.float64 if whole else np.float32)[::-1]
    return (times.round() if whole else times).astype(np.float64)


def karras(sigma_max: float, sigma_min: float, steps: int, rho: float = 7.0) -> np.ndarray:
    """sigma / alpha in equal steps of its rho-th root, from ``sigma_max`` to ``sigma_min`` (Karras et al.
    2206.00364, eq. 5)."""
    ramp = np.linspace(0, 1, steps)
    return (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho


def continuous(start: float, steps: int) -> np.ndarray:
    """t_i = t_0 (1 - i / N) for i < N: from any time ``start`` in equal steps towards 0."""
    return start * (1 - np.arange(steps) / steps)


def unknown_spacing(spacing) -> ValueError:
    """The error for a ``timestep_spacing`` nobody here speaks."""
    return ValueError(f"timestep_spacing={spacing!r} is not known; choose one of {', '.join(SPACINGS)}")
