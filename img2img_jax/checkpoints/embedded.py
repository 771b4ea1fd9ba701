"""The models that ship with the package, by the names that stand for them wherever a model is asked for."""

from __future__ import annotations

from pathlib import Path

_ASSETS = Path(__file__).parent.with_name("assets")

EMBEDDED = {"emoji": _ASSETS / "model", "emoji-lcm": _ASSETS / "model_lcm"}
"""Name -> folder: the embedded model, and its variant distilled to 4 steps of the ``lcm`` sampler."""

EMBEDDED_MODEL = EMBEDDED["emoji"]
