"""Figures, sheets and pages for people to look at; ``write_report`` makes the page of a run."""

from __future__ import annotations

from typing import Any

__all__ = ["write_report"]


def __getattr__(name: str) -> Any:
    """Imports ``write_report`` when it is first used: the command needs the contact sheet alone, and no JAX."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from img2img_jax.reports.report import write_report

    return write_report
