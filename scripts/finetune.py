"""Fine-tunes a model on a folder of captioned pictures, by adapters (LoRA) or whole.

  python scripts/finetune.py --data=docs/blueprints --output=blueprints.safetensors
  img2img --image=photo.png --prompt="cat, blueprint style" --lora=blueprints.safetensors

The folder holds pictures and a metadata.jsonl with one {"file_name": ..., "text": ...} a line (docs/fine_tuning.md).
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags, logging

_DATA = flags.DEFINE_string("data", None, "Folder of pictures with a metadata.jsonl.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "LoRA: a .safetensors file. Whole: a folder.", required=True)
_MODEL = flags.DEFINE_string("model", None, "Folder, file or hub id to start from. Default: the embedded model.")
_WORKDIR = flags.DEFINE_string("workdir", None, "For checkpoints; a run there resumes. Default: OUTPUT + '.run'.")
_RANK = flags.DEFINE_integer("lora_rank", 8, "Rank of the adapters; 0 trains the whole UNet.")
_TARGETS = flags.DEFINE_enum("lora_targets", "every_layer", ["attention", "every_layer"], "Which layers get adapters.")
_STEPS = flags.DEFINE_integer("steps", 500, "Updates.")
_BATCH = flags.DEFINE_integer("batch_size", 4, "Pictures an update; a multiple of the devices.")
_RATE = flags.DEFINE_float("learning_rate", None, "Peak. Default: 1e-3 for adapters, 1e-4 for the whole UNet.")
_FLIP = flags.DEFINE_boolean("flip", True, "Mirror pictures half the time.")
_FSDP = flags.DEFINE_integer("fsdp", 1, "Devices that hold weights and moments between them; the rest split batches.")
_HOSTS = flags.DEFINE_string(
    "hosts", "one", "auto: all hosts of the launcher train together. INDEX/COUNT: this one's place, with --coordinator."
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of the host of index 0; with --hosts=INDEX/COUNT.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the order of pictures, the noise and the adapters' first weights.")


def main(_: list[str]) -> None:
    from img2img_jax import Img2ImgPipeline, make_mesh
    from img2img_jax.hosts import initialize_from_flags
    from img2img_jax.training.finetune import FineTuneConfig, finetune
    from img2img_jax.training.lora import ATTENTION, EVERY_LAYER, LoraConfig, save_adapters

    logging.set_verbosity(logging.INFO)
    targets = {"attention": ATTENTION, "every_layer": EVERY_LAYER}[_TARGETS.value]
    if _RANK.value and Path(_OUTPUT.value).suffix != ".safetensors":
        raise app.UsageError(f"--output={_OUTPUT.value} is for a LoRA: end it in .safetensors (or --lora_rank=0)")
    try:
        lora = LoraConfig(rank=_RANK.value, alpha=_RANK.value, target_modules=targets) if _RANK.value else None
        config = FineTuneConfig(
            steps=_STEPS.value,
            batch_size=_BATCH.value,
            learning_rate=_RATE.value,
            lora=lora,
            flip=_FLIP.value,
            seed=_SEED.value,
        )
        host = initialize_from_flags(_HOSTS.value, _COORDINATOR.value)
        pipe, mesh = (
            Img2ImgPipeline.from_pretrained(*([_MODEL.value] if _MODEL.value else [])),
            make_mesh(fsdp=_FSDP.value),
        )
        workdir = _WORKDIR.value or f"{_OUTPUT.value}.run"
        result = finetune(pipe, _DATA.value, workdir=workdir, config=config, mesh=mesh)
    except (ValueError, FloatingPointError) as error:
        sys.exit(f"finetune: {error}")
    if host.index > 0:
        return
    if result.adapters is not None:
        save_adapters(_OUTPUT.value, result.adapters, lora.scale)
    else:
        result.pipeline.save_pretrained(_OUTPUT.value)
    before = result.resumed_from
    went_on = f", of them {_STEPS.value - before} now and {before} before, as {workdir} holds" if before else ""
    print(f"{_OUTPUT.value}: {_STEPS.value} steps on the pictures of {_DATA.value}{went_on}")


if __name__ == "__main__":
    app.run(main)
