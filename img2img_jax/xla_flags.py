"""What XLA is told before it starts: which library multiplies matrices on a CPU.

jaxlib 0.10 and 0.11 hand float32 products, convolutions and sums to YNNPACK. With AVX-512 their products reach 60 to
80 % of the speed of the kernels that XLA had before and still has; docs/performance.md has the figures.
"""

from __future__ import annotations

import os
from importlib import metadata

FLAG = "--xla_cpu_experimental_ynn_fusion_type"

MEASURED = ("0.10.", "0.11.")
"""Versions of jaxlib that know the flag. XLA ends a process over a flag it does not know: later ones are left alone."""


def leave_out_ynnpack() -> None:
    """Adds to ``XLA_FLAGS`` that no work goes to YNNPACK, unless they say already what does.

    XLA reads them once, when a process first uses a device. They say nothing about devices other than CPUs.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if FLAG not in flags and metadata.version("jaxlib").startswith(MEASURED):
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}=".strip()
