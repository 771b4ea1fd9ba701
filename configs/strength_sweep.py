"""Fidelity and prompt alignment against strength.

Command:
  python experiments/strength_sweep/run.py --config=configs/strength_sweep.py:embedded --workdir=runs/strength_sweep

Arguments:
  (none)     Stable Diffusion 1.5 at 512 px, 21 strengths, 4 seeds, with --data. For 100 pictures 8,400 outputs of 50
             steps: 840,000 rows of the UNet (two per step). Made for the eight chips of a v5e-8, 32 at a time.
  embedded   12 pictures of 64 px, 11 strengths, 2 seeds, on the embedded model.
  tiny       the same code in two minutes on two cores.
  pie_bench  the img2img row of PIE-Bench (2310.01506), with --data=mapping_file.json, --config.dino and --config.lpips.
  flowedit   SDEdit's rows of FlowEdit's tables S5 and S6 (2412.08629): the strengths and metrics. The paper's models,
             SD3 and FLUX, do not load here.
Expected: the fidelity of pixels and edges falls from the first strength on; CLIP's likeness stays near 1 until the
start's log-SNR is about 0, and falls, as alignment rises, where it is between 0 and -5.
"""

from ml_collections import ConfigDict

from img2img_jax.lab import experiment_config, grid

PROTOCOLS = {
    "pie_bench": dict(
        strengths=grid(0.1, 0.2, 0.8),
        seeds=(0,),
        settings=dict(strength_mode=("truncate",)),
        metrics=(
            "structure_distance",
            "background_psnr",
            "background_lpips_squeeze",
            "background_mse",
            "background_ssim",
            "clip_text",
            "edited_clip_text",
        ),
        lpips=("lpips_squeeze",),
        dino="facebook/dino-vitb8",
    ),
    "flowedit": dict(
        strengths=grid(0.2, 0.2, 0.8),
        seeds=(0,),
        settings=dict(strength_mode=("truncate",)),
        metrics=("clip_text", "clip_image", "lpips_alex", "structure_distance"),
        lpips=("lpips_alex",),
        dino="facebook/dino-vitb8",
    ),
}


def get_config(arg: str = "") -> ConfigDict:
    """The configuration for an argument above."""
    if arg in PROTOCOLS:
        return experiment_config("strength_sweep", "", PROTOCOLS[arg])
    return experiment_config("strength_sweep", arg)
