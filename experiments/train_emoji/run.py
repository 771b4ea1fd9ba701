"""Trains one stage of the emoji model: ``--config=configs/train_emoji_STAGE.py[:tiny] --workdir=DIR``.

Stages: clip, vae, unet, lcm, judge.
"""

from __future__ import annotations

import importlib
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
    from run_config import keep_run_config

    from img2img_jax.data.tokenizer import ClipTokenizer

    logging.set_verbosity(logging.INFO)
    config, workdir = _CONFIG.value, Path(_WORKDIR.value)
    if config.stage in ("unet", "lcm") and not _MODEL.value:
        raise app.UsageError("this stage needs --model, the folder export.py wrote vae/ and text_encoder/ to")
    if _INIT_TEACHER.value and not (config.stage == "lcm" and _INIT.value):
        raise app.UsageError("--init_teacher is for the lcm stage and needs --init, the model distilled from it")
    workdir.mkdir(parents=True, exist_ok=True)
    given = {"init": _INIT.value, "init_teacher": _INIT_TEACHER.value, "model_folder": _MODEL.value}
    begun = {name: Path(folder).absolute() if folder else None for name, folder in given.items()}
    try:
        keep_run_config(workdir, config, begun)
    except ValueError as error:
        raise app.UsageError(str(error)) from error
    emoji = load_emoji(_DATA.value, config.resolution)
    tokenizer = ClipTokenizer.load(Path(__file__).with_name("tokenizer"))
    extra = {"init": begun["init"]} if config.stage in ("clip", "vae", "unet", "lcm") else {}
    if config.stage in ("unet", "lcm"):
        extra["model"] = begun["model_folder"]
    if begun["init_teacher"]:
        extra["init_teacher"] = begun["init_teacher"]
    importlib.import_module(f"{config.stage}_stage").train(config, emoji, tokenizer, workdir, **extra)


if __name__ == "__main__":
    app.run(main)
