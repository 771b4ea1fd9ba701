"""Compiled programs kept on disk: what one process compiled, the next one reads in a moment."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

import jax
from absl import logging

from img2img_jax.user_cache import user_cache

VARIABLE = "IMG2IMG_JAX_CACHE"
"""Environment variable: a folder in place of the user's cache folder, or "off"."""

MAX_BYTES = 2 * 2**30
"""What the folder may hold; the programs that were used least recently go first."""

LEAST_SECONDS = 0.2
"""Programs that compile faster are not kept."""


def folder() -> Path | None:
    """Where programs are kept on this machine: by ``VARIABLE``, else in the user's cache folder; None if switched off.

    Each kind of processor has its own subfolder: machines that share a home must not run each other's instructions.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen.lower() == "off":
        return None
    base = Path(chosen) if chosen else user_cache()
    return base.expanduser() / f"xla-{_processor()}"


def enable() -> None:
    """Switches JAX's compilation cache on, unless the caller's JAX has one already or ``VARIABLE`` is "off".

    A folder that cannot be made is no error: programs are then compiled as ever.
    """
    place = folder()
    if place is None or jax.config.jax_compilation_cache_dir is not None:
        return
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logging.info("no compilation cache: %s; %s names another folder, or off", error, VARIABLE)
        return
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)


def _processor() -> str:
    described = [platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    described += sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:12]
