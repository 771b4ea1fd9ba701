"""Memory that a CPU's programs gave back stays with the process, for the next call.

XLA's CPU client takes the buffers of a program from malloc at each call, and frees them after it. Blocks that large
glibc maps anew every time, and the kernel fills each page with zeros when it is first touched: with an update of the
embedded model's UNet 0.5 GB of them, a fifth of its time. docs/performance.md has the figures.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator

VARIABLE = "IMG2IMG_JAX_MALLOC"
"""Environment variable: "default" leaves malloc as it is."""

KEPT_BYTES = 2**31 - 1
"""Free memory at the end of the heap that stays with the process; what is more goes back."""

ACCELERATORS = ("libtpu", "jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm60_plugin", "jax_rocm7_plugin")
"""Packages that bring JAX devices whose programs have no use for the host's memory."""

# Of malloc.h: the trim threshold, from which size and how many blocks may be mapped one by one, and how many heaps.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8

_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: KEPT_BYTES}
# glibc's own limits, at the largest that it raises them to once a process has freed large blocks.
_GIVE_BACK = {_MMAP_MAX: 2**16, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26}


def keep_freed_memory() -> None:
    """Tells glibc's malloc to serve all threads from one heap and to keep what is freed, where programs run on a CPU.

    It has to be told before JAX first uses a device: threads keep the heap that they have, and XLA's would have their
    own, which are too small for its buffers. Nothing happens with another C library, where ``VARIABLE`` is "default",
    or where an accelerator's plugin is installed and ``JAX_PLATFORMS`` is not "cpu".
    """
    if (mallopt := _mallopt()) is not None:
        for parameter, value in {_ARENA_MAX: 1, **_KEEP}.items():
            mallopt(parameter, value)


@contextlib.contextmanager
def default_malloc() -> Iterator[None]:
    """Within it malloc gives memory back as in a process without this package: for timing others beside it."""
    mallopt = _mallopt() or (lambda parameter, value: None)
    for parameter, value in _GIVE_BACK.items():
        mallopt(parameter, value)
    try:
        yield
    finally:
        for parameter, value in _KEEP.items():
            mallopt(parameter, value)


def _mallopt() -> Callable[[int, int], int] | None:
    """glibc's function, or None where malloc is left as it is."""
    if os.environ.get(VARIABLE) == "default" or not sys.platform.startswith("linux") or not _on_cpu():
        return None
    return getattr(ctypes.CDLL(None), "mallopt", None)


def _on_cpu() -> bool:
    platforms = os.environ.get("JAX_PLATFORMS")
    return platforms == "cpu" if platforms else not any(map(importlib.util.find_spec, ACCELERATORS))
