"""What a run is: its configuration and the models it began with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from img2img_jax.checkpoints import read_json, write_json
from img2img_jax.training.fit import newest_step


def keep_run_config(workdir: Path, config: ConfigDict, begun: Mapping[str, Path | None]) -> None:
    """Writes ``config.json``; a run that has checkpoints goes on only with its network and the models it began with.

    Args:
      begun: flag to the folder of a model, or None.

    Raises:
      ValueError: there are checkpoints of another.
    """
    path = workdir / "config.json"
    kept = json.loads(config.to_json_best_effort()) | {name: folder and str(folder) for name, folder in begun.items()}
    found = read_json(path) if newest_step(workdir) else {}
    for name in ("model", *begun):
        if found.get(name, kept[name]) != kept[name]:
            raise ValueError(f"{path} holds another {name}: {found[name]}; choose another --workdir")
    write_json(path, kept)
