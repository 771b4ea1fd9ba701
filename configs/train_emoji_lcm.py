"""The few-step variant of the emoji model: latent consistency distillation of its UNet (2310.04378).

Needs a finished model (experiments/train_emoji). Command:
  python experiments/train_emoji/run.py --config=configs/train_emoji_lcm.py --workdir=runs/lcm --model=runs/model
``:tiny`` runs the same code in under two minutes.
"""

import importlib.util
from pathlib import Path

from ml_collections import ConfigDict


def _teacher(arg: str) -> ConfigDict:
    """The configuration of the UNet stage: the student has its network, data and noise schedule."""
    path = Path(__file__).with_name("train_emoji_unet.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(arg)


def get_config(arg: str = "") -> ConfigDict:
    """The configuration; ``arg`` is "" or "tiny"."""
    tiny, teacher = arg == "tiny", _teacher(arg)
    steps = 10 if tiny else 1500
    original = 25
    return ConfigDict(
        dict(
            stage="lcm",
            resolution=teacher.resolution,
            batch_size=8 if tiny else 16,
            num_concepts=teacher.num_concepts,
            variants=teacher.variants,
            prompts=teacher.prompts,
            preview_steps=4,
            model=dict(teacher.model, time_cond_proj_dim=64 if tiny else 256),
            scheduler=dict(
                teacher.scheduler,
                _class_name="LCMScheduler",
                original_inference_steps=original,
                timestep_scaling=10.0,
            ),
            distillation=dict(
                original_inference_steps=original, teacher_steps=4, min_scale=2.0, max_scale=8.0, huber=0.03
            ),
            optimizer=dict(learning_rate=2e-4, steps=steps, warmup_steps=min(100, steps // 2), weight_decay=0.0),
            fit=dict(
                steps=steps,
                ema_decay=0.995,
                log_every=5 if tiny else 20,
                evaluate_every=10 if tiny else 250,
                checkpoint_every=10 if tiny else 250,
            ),
        )
    )
