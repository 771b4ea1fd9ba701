"""How much of the change is the seed's, how much the strength's, how much the picture's.

Command:
  python experiments/seed_variance/run.py --config=configs/seed_variance.py:embedded --workdir=runs/seed_variance

Arguments:
  (none)    Stable Diffusion 1.5 at 512 px, with --data; 5 strengths, 16 seeds: for 100 pictures 8,000 outputs, about as
            many as strength_sweep makes.
  embedded  6 pictures of 64 px, 5 strengths, 4 seeds.
  tiny      the same code in two minutes on two cores.
Expected: strength decides on fidelity; the seed's share grows with strength and is largest in alignment.
"""

from ml_collections import ConfigDict

from img2img_jax.lab import experiment_config, grid

SEEDS = {"": 16, "embedded": 4, "tiny": 3}
PICTURES = {"embedded": 6, "tiny": 3}


def get_config(arg: str = "") -> ConfigDict:
    """The configuration for an argument above."""
    changes = dict(strengths=grid(0.2, 0.2), seeds=tuple(range(SEEDS.get(arg, 1))), max_inputs=PICTURES.get(arg, 0))
    return experiment_config("seed_variance", arg, changes)
