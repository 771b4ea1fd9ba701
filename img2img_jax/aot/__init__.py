"""Compiling for TPU slices on a machine without a TPU: what fits, what it holds, and what the compiler expects of it.

Nothing runs and no weight is read: programs are traced with shapes alone, and compiled by the compiler of libtpu (the
extra ``aot``). docs/tpu.md says which of the figures can be trusted.
"""

from img2img_jax.aot.chip import Chip, chip_of, slice_devices
from img2img_jax.aot.figures import Figures
from img2img_jax.aot.flops import count_flops
from img2img_jax.aot.measurement import measure
from img2img_jax.aot.networks import MODELS, Networks
from img2img_jax.aot.planner import Plan, Sweep, plan_sweep
from img2img_jax.aot.report import as_json, as_markdown
from img2img_jax.aot.stages import STAGES, Stage, stages

__all__ = [
    "Chip",
    "Figures",
    "MODELS",
    "Networks",
    "Plan",
    "STAGES",
    "Stage",
    "Sweep",
    "as_json",
    "as_markdown",
    "chip_of",
    "count_flops",
    "measure",
    "plan_sweep",
    "slice_devices",
    "stages",
]
