"""Compiling a stage for its slice, or finding it among what was compiled before."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import jax

from img2img_jax.aot import hlo
from img2img_jax.aot.figures import Figures
from img2img_jax.aot.flops import count_flops
from img2img_jax.aot.stages import Stage
from img2img_jax.checkpoints import read_json, write_json
from img2img_jax.models.attention_tpu import LANES

# Each slice of a prefetch would take a second off the compiler's roofline.
OPTIONS = {"xla_tpu_sliced_prefetch_max_slices": "0"}


def measure(stage: Stage, topology: str, resolution: int, cache: Path | None = None) -> Figures:
    """Compiles ``stage``, which was traced for ``topology``.

    Args:
      topology, resolution: as the stage was traced for.
      cache: a folder of figures by what was compiled; a step of Stable Diffusion takes minutes.

    Raises:
      JaxRuntimeError: the compiler fails for another reason than memory.
    """
    lowered = stage.traced.lower()
    known = dict(stage=stage.name, topology=topology, resolution=resolution, samples=stage.samples)
    file = None if cache is None else cache / f"{_digest(lowered, topology)}.json"
    if file is not None and file.exists():
        return Figures.from_dict(read_json(file) | known)
    jaxpr, compiled = stage.traced.jaxpr.jaxpr, _compiled(lowered)
    in_kernels = count_flops(jaxpr, lanes=LANES, kernels_only=True) if compiled.get("kernels") else 0
    figures = Figures(**known, flops=count_flops(jaxpr), kernel_flops=in_kernels, **compiled)
    if file is not None:
        cache.mkdir(parents=True, exist_ok=True)
        write_json(file, dataclasses.asdict(figures))
    return figures


def _compiled(lowered: Any) -> dict[str, Any]:
    try:
        compiled = lowered.compile(compiler_options=OPTIONS)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return dict(fits=False, refusal=str(error).splitlines()[0])
    memory, text = compiled.memory_analysis(), compiled.as_text()
    return dict(
        fits=True,
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        peak=memory.peak_memory_in_bytes,
        cycles=hlo.estimated_cycles(text),
        optimal_seconds=compiled.cost_analysis()["optimal_seconds"],
        collectives=hlo.collectives(text),
        kernels=hlo.kernels(text),
    )


def _digest(lowered: Any, topology: str) -> str:
    """Of all that the figures hang on: the program, the slice, the compiler and its options."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "libtpu")]
    parts = [lowered.as_text(), topology, repr(sorted(OPTIONS.items())), *versions]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
