"""Runs of many trials: planned, resumable after a kill, and verifiable."""

from img2img_jax.runs.host_records import HostDied
from img2img_jax.runs.manifest import make_manifest
from img2img_jax.runs.plan import Plan, Sizing, make_plan, variations
from img2img_jax.runs.records import Records
from img2img_jax.runs.run import run
from img2img_jax.runs.shared import SharedEncodings
from img2img_jax.runs.verify import Verification, verify

__all__ = [
    "HostDied",
    "Plan",
    "Records",
    "SharedEncodings",
    "Sizing",
    "Verification",
    "make_manifest",
    "make_plan",
    "run",
    "variations",
    "verify",
]
