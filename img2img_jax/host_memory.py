"""Memory that a CPU's programs gave back stays with the process, for the next call.

XLA's CPU client takes the buffers of a program from malloc at each call, and frees them after it. Blocks that large
glibc maps anew every time, and the kernel fills each page with zeros when it is first touched: with an update of the
embedded model's UNet 0.5 GB of them, a fifth of its time. docs/performance.md has the figures.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys

VARIABLE = "IMG2IMG_JAX_MALLOC"
"""Environment variable: "default" leaves malloc as it is."""

KEPT_BYTES = 2**31 - 1
"""Free memory at the end of the heap that stays with the process; what is more goes back."""

ACCELERATORS = ("libtpu", "jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm60_plugin", "jax_rocm7_plugin")
"""Packages that bring JAX devices whose programs have no use for the host's memory."""

# Of malloc.h: the trim threshold, how many blocks may be mapped one by one, and how many heaps there may be.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Tells glibc's malloc to serve all threads from one heap and to keep what is freed, where programs run on a CPU.

    It has to be told before JAX first uses a device: threads keep the heap that they have, and XLA's would have their
    own, which are too small for its buffers. Nothing happens with another C library, where ``VARIABLE`` is "default",
    or where an accelerator's plugin is installed and ``JAX_PLATFORMS`` is not "cpu".
    """
    if os.environ.get(VARIABLE) == "default" or not sys.platform.startswith("linux") or not _on_cpu():
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, KEPT_BYTES)):
            mallopt(parameter, value)


def _on_cpu() -> bool:
    platforms = os.environ.get("JAX_PLATFORMS")
    return platforms == "cpu" if platforms else not any(map(importlib.util.find_spec, ACCELERATORS))
