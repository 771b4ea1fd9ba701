"""Checkpoints in object stores and other places with an address, copied to this machine before they are read."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.user_cache import user_cache

# A web server has no folders: what is under such an address is mostly a page, like that of a model on the hub.
_ADDRESS = re.compile(r"(?!https?:)[A-Za-z][A-Za-z0-9+.-]+://.+")


def is_address(name: str) -> bool:
    """Whether ``name`` begins with a store's protocol, as "gs://bucket/model" does."""
    return _ADDRESS.fullmatch(name) is not None


def fetch(address: str, patterns: Sequence[str], ignored: Sequence[str] = ()) -> Path:
    """The copy of a folder, or of a single file, in the user's cache folder (``user_cache``).

    What has not changed is not fetched again; what has gets a folder of its own, beside the one before.

    Args:
      address: in any protocol that fsspec knows; most want a package, such as gcsfs for "gs://" or s3fs for "s3://".
      patterns: of the files wanted, below the folder; a star stands for slashes as well.
      ignored: of those not wanted all the same.

    Raises:
      CheckpointError: nothing wanted is there, a name leads out of the folder, or no protocol, access or connection.
    """
    import fsspec  # comes with huggingface_hub, and a local folder does not need it

    try:
        address = address.rstrip("/")
        store, root = fsspec.core.url_to_fs(address)
        files = _wanted(store, root, patterns, ignored)
        versions = sorted((name, store.ukey(path)) for name, path in files.items())
        folder = user_cache() / "remote" / hashlib.sha256(repr((address, versions)).encode()).hexdigest()[:32]
        if files and not folder.exists():
            _copy(store, files, folder)
    except CheckpointError:
        raise
    except Exception as error:  # what is raised depends on the store, and on its package's release
        raise CheckpointError(f"{address} cannot be read ({type(error).__name__}: {error})") from error
    if not files:
        raise CheckpointError(f"{address} holds no file of a checkpoint; check the spelling and who may read it")
    return folder / PurePosixPath(root).name if [*files.values()] == [root] else folder


def _wanted(store: Any, root: str, patterns: Sequence[str], ignored: Sequence[str]) -> dict[str, str]:
    """Names below ``root``, or its own if it is a file, and the store's paths of them."""
    found = store.find(root)
    files = {PurePosixPath(root).name if path == root else path.removeprefix(root + "/"): path for path in found}
    for name in files:
        if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
            raise CheckpointError(f"{root} holds a file named {name!r}, which would be written outside of the copy")
    return {name: path for name, path in files.items() if _matches(name, patterns) and not _matches(name, ignored)}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _copy(store: Any, files: dict[str, str], folder: Path) -> None:
    """Whole or not at all; of several processes that copy the same, the first one's copy stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".", ignore_cleanup_errors=True) as partial:
        for name, path in files.items():
            target = Path(partial, "files", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with store.open(path, "rb") as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 2**24)
        try:
            os.replace(Path(partial, "files"), folder)
        except OSError:
            if not folder.is_dir():
                raise
