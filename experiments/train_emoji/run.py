"""Trains one stage of the emoji model: ``--config=configs/train_emoji_STAGE.py[:tiny] --workdir=DIR``.

Stages: clip, vae, unet, lcm, judge.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file("config", None, "One of configs/train_emoji_*.py.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, metrics and previews go; a run there resumes.")
_DATA = flags.DEFINE_string("data", None, "Folder of the emoji set (scripts/build_emoji.py); default: the user cache.")
_MODEL = flags.DEFINE_string("model", None, "Folder with vae/ and text_encoder/ (export.py); the unet and lcm stages.")
_INIT = flags.DEFINE_string(
    "init",
    None,
    "Model to begin with: its unet/ (unet and lcm stages), its clip/ (score), the decoder of its vae/ (vae stage).",
)
_INIT_TEACHER = flags.DEFINE_string(
    "init_teacher", None, "Model that --init was distilled from: what --model has learnt since is added (lcm stage)."
)
flags.mark_flags_as_required(["config", "workdir"])


def main(_: list[str]) -> None:
    from batches import load_emoji

    from img2img_jax.data.tokenizer import ClipTokenizer

    logging.set_verbosity(logging.INFO)
    config, workdir = _CONFIG.value, Path(_WORKDIR.value)
    if config.stage in ("unet", "lcm") and not _MODEL.value:
        raise app.UsageError("this stage needs --model, the folder export.py wrote vae/ and text_encoder/ to")
    if _INIT_TEACHER.value and not (config.stage == "lcm" and _INIT.value):
        raise app.UsageError("--init_teacher is for the lcm stage and needs --init, the model distilled from it")
    workdir.mkdir(parents=True, exist_ok=True)
    init = Path(_INIT.value) if _INIT.value else None
    _keep_config(config, init, workdir / "config.json")
    emoji = load_emoji(_DATA.value, config.resolution)
    tokenizer = ClipTokenizer.load(Path(__file__).with_name("tokenizer"))
    extra = {"init": init} if config.stage in ("clip", "vae", "unet", "lcm") else {}
    if config.stage in ("unet", "lcm"):
        extra["model"] = Path(_MODEL.value)
    if _INIT_TEACHER.value:
        extra["init_teacher"] = Path(_INIT_TEACHER.value)
    importlib.import_module(f"{config.stage}_stage").train(config, emoji, tokenizer, workdir, **extra)


def _keep_config(config, init: Path | None, path: Path) -> None:
    """Writes the configuration and what the run began with; a run resumes only with the network it began with."""
    kept = json.loads(config.to_json_best_effort()) | {"init": str(init.absolute()) if init else None}
    if path.exists() and (found := json.loads(path.read_text())["model"]) != kept["model"]:
        raise app.UsageError(f"{path} holds another network: {found}; choose another --workdir")
    path.write_text(json.dumps(kept, indent=2))


if __name__ == "__main__":
    app.run(main)
