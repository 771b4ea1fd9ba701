"""What XLA is told before it starts: which library multiplies on a CPU.

jaxlib 0.10 hands float32 products, convolutions and sums to YNNPACK. XLA's own products and convolutions keep both
cores busier, and a picture of the embedded model takes four fifths of the time with them; sums are better left where
they are. docs/performance.md has the figures.
"""

from __future__ import annotations

import os
from importlib import metadata

FLAG = "--xla_cpu_experimental_ynn_fusion_type"

SUMS = "LIBRARY_FUSION_TYPE_REDUCE"

MEASURED = ("0.10.",)
"""Versions of jaxlib that know the flag. XLA ends a process over a flag it does not know: later ones are left alone,
and a child process with another jaxlib needs an environment without ``XLA_FLAGS``."""


def leave_sums_to_ynnpack() -> None:
    """Adds to ``XLA_FLAGS`` that nothing but sums goes to YNNPACK, unless they say already what does.

    XLA reads them once, when a process first uses a device. They say nothing about devices other than CPUs.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if FLAG not in flags and metadata.version("jaxlib").startswith(MEASURED):
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}={SUMS}".strip()
