"""One self-contained page for a run: ``report.html``."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from img2img_jax.checkpoints.atomic import replacing
from img2img_jax.reports import fragments
from img2img_jax.reports.curves import strength_curves
from img2img_jax.reports.page_data import flat, page_data
from img2img_jax.reports.run_files import read_run
from img2img_jax.reports.series import MAX_SIDE, PAGE_BYTES, embed, make_series

SCRIPTS = ("dom.js", "chart.js", "curves.js", "viewer.js", "sheet.js", "main.js")
"""In this order they make the page's one script."""


def write_report(workdir: str | Path, *, page_bytes: int = PAGE_BYTES, max_side: int = MAX_SIDE) -> Path:
    """Writes ``report.html`` into a run's work directory, from its rows and pictures.

    The page loads nothing: script, style and pictures are in it, and its policy forbids requests. It shows the curves
    with their intervals, every series of pictures behind a strength slider, all parameters, and the failures. The same
    rows and pictures give the same bytes. Works on runs that are not finished, and on folders that lack pictures.

    Args:
      workdir: of ``img2img_jax.runs.run``.
      page_bytes: most to spend on embedded pictures. Beyond it whole series are left out, and the page names them and
        their files; curves and tables are of all rows whatever is left out.
      max_side: pixels of an embedded picture's longer side; larger ones are shrunk.

    Returns:
      The page's path.

    Raises:
      ValueError: no run in ``workdir``, or a row that cannot be read.
    """
    run = read_run(workdir)
    curves = strength_curves(run.samples)
    series = embed(run.folder, make_series(run.samples), page_bytes=page_bytes, max_side=max_side)
    left_out = [one for one, pictures in series if pictures is None]
    page = _fill(
        {
            "title": html.escape(run.folder.resolve().name),
            "facts": fragments.facts(run),
            "notices": fragments.notices(run, left_out, page_bytes),
            "numbers": fragments.numbers(run, curves),
            "failures": fragments.failures(run),
            "left_out": fragments.left_out(left_out),
            "config": fragments.table(flat(run.config)),
            "manifest": fragments.table(flat(run.manifest)),
            "data": _json(page_data(run, curves, series)),
        }
    )
    path = run.folder / "report.html"
    with replacing(path) as file:
        # A prompt may hold half a surrogate pair, which no encoding has.
        file.write(page.encode("utf-8", "replace"))
    return path


def _fill(parts: Mapping[str, str]) -> str:
    """The template with its style and script, and the policy that allows these two and nothing else."""
    style, script = _asset("report.css"), "".join(map(_asset, SCRIPTS))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {"policy": html.escape(policy), "style": style, "script": script, **parts}
    # In one pass, so that what is filled in is not searched for placeholders.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("report.html"))


def _asset(name: str) -> str:
    return (resources.files("img2img_jax.reports") / "page" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: Any) -> str:
    """JSON that can stand inside a script element, whatever is in its texts."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
