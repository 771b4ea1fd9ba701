"""What Google's metadata server says of a Cloud TPU VM, which has no variables that tell it of the other hosts."""

from __future__ import annotations

import os
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

DEVICES = ("/dev/accel*", "/dev/vfio/[0-9]*")
"""Files of TPU chips; where there are none, nobody is asked."""
SECONDS, ATTEMPTS, PAUSE = 10.0, 3, 0.5
NOT_FOUND = 404


def worker() -> dict[str, str]:
    """This host's place, as the variables that GKE sets: ``TPU_WORKER_ID``, ``TPU_WORKER_HOSTNAMES``, and those of
    several slices (``MEGASCALE_...``).

    Returns:
      nothing, on a machine that is no Cloud TPU VM.

    Raises:
      ValueError: the server knows this worker, but not the others.
    """
    if not any(True for pattern in DEVICES for _ in Path("/").glob(pattern.lstrip("/"))):
        return {}
    index = _attribute("agent-worker-number")
    if index is None:
        return {}
    endpoints = _attribute("worker-network-endpoints")
    if endpoints is None:
        raise ValueError("this is a TPU worker, but its metadata name no others (worker-network-endpoints)")
    slices = {name: value for name, value in _tpu_env() if name.startswith("MEGASCALE_")}
    return {"TPU_WORKER_ID": index, "TPU_WORKER_HOSTNAMES": endpoints} | slices


def _tpu_env() -> Iterator[tuple[str, str]]:
    """Lines such as MEGASCALE_NUM_SLICES: '2'."""
    for line in (_attribute("tpu-env") or "").splitlines():
        if found := re.match(r"\s*(\w+)\s*:\s*'?(.*?)'?\s*$", line):
            yield found[1], found[2]


def _attribute(name: str) -> str | None:
    server = os.environ.get("GCE_METADATA_IP", "metadata.google.internal")
    address = f"http://{server}/computeMetadata/v1/instance/attributes/{name}"
    request = urllib.request.Request(address, headers={"Metadata-Flavor": "Google"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the server is the machine's own
    for _ in range(ATTEMPTS):
        try:
            with opener.open(request, timeout=SECONDS) as answer:
                return answer.read().decode().strip()
        except OSError as error:
            if getattr(error, "code", None) == NOT_FOUND:
                break
            time.sleep(PAUSE)
    return None
