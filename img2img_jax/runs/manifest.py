"""With what a run was made: code, libraries, devices, weights."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from pathlib import Path
from typing import Any

from img2img_jax import metadata
from img2img_jax.checkpoints import weight_digests
from img2img_jax.file_digest import file_sha256


def make_manifest(folder: str | Path) -> dict[str, Any]:
    """Facts that decide on the bits of a picture, but for the trial's own knobs.

    Args:
      folder: where the checkpoint's files lie on this machine.
    """
    import jax

    devices = jax.local_devices()
    return {
        "git_commit": _git_commit(),
        "code_sha256": _code_sha256(),
        "python": platform.python_version(),
        "versions": metadata.package_versions(),
        "devices": {"kind": devices[0].device_kind, "count": len(devices), "platform": devices[0].platform},
        "weights": weight_digests(folder),
    }


def _code_sha256() -> str:
    """Hash over the names and bytes of the package's modules."""
    package, code = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        code.update(f"{path.relative_to(package).as_posix()} {file_sha256(path)}\n".encode())
    return code.hexdigest()


def _git_commit() -> str | None:
    """The commit of the source tree that this code runs from, marked if files in it differ; None if it is installed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "img2img_jax"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit} with changes" if changes else commit
