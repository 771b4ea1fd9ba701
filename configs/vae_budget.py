"""What the VAE alone loses, per picture, and its share of all change at low strengths.

Command:
  python experiments/vae_budget/run.py --config=configs/vae_budget.py:embedded --workdir=runs/vae_budget

Arguments:
  (none)    Stable Diffusion 1.5 at 512 px, with --data; 5 strengths up to 0.4, and 1 as a line; 4 seeds. For 100
            pictures 2,400 outputs, less than a third of strength_sweep's cost.
  embedded  12 pictures of 64 px, 2 seeds.
  tiny      the same code in two minutes on two cores.
Expected: the VAE's share of all change falls with strength, from more than half at 0.1.
"""

from ml_collections import ConfigDict

from img2img_jax.lab import experiment_config, grid


def get_config(arg: str = "") -> ConfigDict:
    """The configuration for an argument above."""
    strengths = (0.1, 0.2, 0.4) if arg == "tiny" else (0.05, *grid(0.1, 0.1, 0.4))
    return experiment_config("vae_budget", arg, dict(strengths=strengths))
