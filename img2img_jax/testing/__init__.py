"""Test doubles that ship with the package."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .analytic import AnalyticDenoiser
    from .tiny import tiny_pipeline

_HOMES = {"AnalyticDenoiser": "analytic", "tiny_pipeline": "tiny"}
__all__ = ["AnalyticDenoiser", "tiny_pipeline"]


def __getattr__(name: str):
    """Imports a double when it is first used: the denoiser alone needs no networks."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
