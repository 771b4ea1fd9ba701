"""With what a run was made: code, libraries, devices, weights."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from img2img_jax import metadata
from img2img_jax.checkpoints import resolve, weight_digests
from img2img_jax.file_digest import file_sha256


def make_manifest(checkpoint: str | Path, **others: str | Path | Sequence[str | Path] | None) -> dict[str, Any]:
    """Facts that decide on the bits of a picture and on its metrics, but for the trial's own knobs.

    Args:
      checkpoint: where its files lie on this machine: a folder, or a single file.
      others: paths or hub ids of all other weights by what they are: ``loras``, a ``vae`` in place of the checkpoint's,
        the networks of metrics. Empty for none.

    Raises:
      CheckpointError: one of ``others`` is neither on this machine nor on the hub.
    """
    import jax

    devices = jax.local_devices()
    return {
        "git_commit": _git_commit(),
        "code_sha256": _code_sha256(),
        "python": platform.python_version(),
        "versions": metadata.package_versions(),
        "devices": {"kind": devices[0].device_kind, "count": len(devices), "platform": devices[0].platform},
        "weights": weight_digests(checkpoint),
        "other_weights": {name: digests for name, given in others.items() if (digests := _digests(given))},
    }


def _digests(given: str | Path | Sequence[str | Path] | None) -> list[dict[str, str]]:
    """``weight_digests`` of each path or hub id."""
    paths = [given] if isinstance(given, str | Path) else given or ()
    return [weight_digests(_on_this_machine(path)) for path in paths if path]


def _on_this_machine(path_or_hub_id: str | Path) -> Path:
    path = Path(path_or_hub_id).expanduser()
    return path if path.exists() else resolve(path_or_hub_id)  # which refuses files that LoRAs may be


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
