"""Experiments: a configuration, run, measured, drawn and written up. ``main`` is the command of each of them."""

from img2img_jax.lab.config import experiment_config, grid
from img2img_jax.lab.results import Results, interval

__all__ = ["Results", "experiment_config", "grid", "interval"]
