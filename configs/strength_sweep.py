"""Fidelity and prompt alignment against strength.

Command:
  python experiments/strength_sweep/run.py --config=configs/strength_sweep.py --workdir=runs/strength_sweep
"""

from ml_collections import ConfigDict

from img2img_jax.lab import experiment_config


def get_config(arg: str = "") -> ConfigDict:
    """The configuration; ``arg`` is "" (12 pictures, 21 strengths, 4 seeds), or "tiny" (two minutes on two cores)."""
    if arg not in ("", "tiny"):
        raise ValueError(f"argument {arg!r} is not known; use none or 'tiny'")
    config = experiment_config(
        "strength_sweep",
        inputs={"pictures": "experiments/inputs/pictures"},
        height=64,
        width=64,
        batch_size=16,
        settings=dict(
            scheduler=("ddim",), num_inference_steps=(20,), guidance_scale=(4.0,), strength_mode=("continuous",)
        ),
    )
    if arg == "tiny":
        config.update(max_inputs=4, seeds=(0, 1), strengths=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
        config.settings.num_inference_steps = (8,)
    return config
