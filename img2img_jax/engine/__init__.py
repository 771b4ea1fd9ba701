"""Many pictures through the same slots: each slot is filled again as soon as its sample is done."""

from img2img_jax.engine.engine import Engine, Result
from img2img_jax.engine.job import Job
from img2img_jax.engine.statistics import Statistics

__all__ = ["Engine", "Job", "Result", "Statistics"]
