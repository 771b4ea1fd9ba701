"""Symbolic links in checkpoints: a downloaded folder must not make us read what lies elsewhere."""

from __future__ import annotations

from pathlib import Path

from img2img_jax.checkpoints.errors import CheckpointError


def refuse_links_out(folder: Path) -> None:
    """Checks the entries of a folder, not of those below it.

    The hub's cache may link: its snapshots hold links to the blobs of the same repository.

    Raises:
      CheckpointError: an entry is a link to somewhere outside the folder.
    """
    if not folder.is_dir():
        return
    home = folder.resolve()
    allowed = [home, *(parent.parent / "blobs" for parent in home.parents if parent.name == "snapshots")]
    for entry in folder.iterdir():
        if entry.is_symlink() and not any(entry.resolve().is_relative_to(place) for place in allowed):
            raise CheckpointError(
                f"{entry} is a link that leads out of its folder, to {entry.resolve()}; put the file itself there"
            )
