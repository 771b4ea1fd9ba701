"""What XLA is told before it starts: which library multiplies on a CPU.

jaxlib 0.10 and 0.11 hand float32 products, convolutions and sums to YNNPACK. The kernels that XLA had before, and still
has, are faster at large shapes: products take 0.6 to 0.9 of the time, convolutions that are left to XLA half of it.
docs/performance.md has the figures, and the small convolutions that lose.
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
