"""Image-to-image diffusion in JAX: noise an encoded picture to a start time, then denoise it under a prompt."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from img2img_jax.host_memory import keep_freed_memory
from img2img_jax.xla_flags import leave_sums_to_ynnpack

if TYPE_CHECKING:
    from img2img_jax.diffusion.scheduler import Scheduler
    from img2img_jax.diffusion.strength import ResolvedStart
    from img2img_jax.finder.find_strength import FoundStrength, find_strength
    from img2img_jax.parallel import make_mesh
    from img2img_jax.pipeline import Img2ImgOutput, Img2ImgPipeline

__version__ = "0.1.0"

_HOMES = {
    "Img2ImgPipeline": "pipeline",
    "Img2ImgOutput": "pipeline",
    "ResolvedStart": "diffusion.strength",
    "Scheduler": "diffusion.scheduler",
    "FoundStrength": "finder.find_strength",
    "find_strength": "finder.find_strength",
    "make_mesh": "parallel",
}
__all__ = [
    "FoundStrength",
    "Img2ImgOutput",
    "Img2ImgPipeline",
    "ResolvedStart",
    "Scheduler",
    "find_strength",
    "make_mesh",
]

# Before anything here uses a device.
leave_sums_to_ynnpack()
keep_freed_memory()


def __getattr__(name: str):
    """Imports a public name when it is first used: ``import img2img_jax`` itself costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
