"""Experiments: a configuration, run, measured, drawn and written up. ``main`` is the command of each of them."""

from img2img_jax.lab.config import GRID, experiment_config
from img2img_jax.lab.results import Results, interval

__all__ = ["GRID", "Results", "experiment_config", "interval"]
