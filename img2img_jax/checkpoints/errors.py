"""What goes wrong with checkpoints, in one type."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint cannot be used as it is; the message names the file, the fault and the way out."""
