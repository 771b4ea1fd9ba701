"""Samplers and modes at equal numbers of network evaluations.

Command:
  python experiments/solver_and_steps/run.py --config=configs/solver_and_steps.py:embedded --workdir=runs/solvers

Arguments:
  (none)    Stable Diffusion 1.5 at 512 px, with --data; 6 samplers x 3 modes x 4 budgets x 4 strengths: for 100
            pictures 28,800 outputs of 5 to 40 evaluations, 19 each on average: a quarter more than strength_sweep.
  embedded  3 pictures of 64 px, 4 samplers, budgets 4, 8 and 16.
  tiny      the same code in two minutes on two cores.
Expected: at equal evaluations the modes agree within their intervals, since all run as many steps from the same place;
higher orders pay at few evaluations, and more so the higher the strength.
"""

from ml_collections import ConfigDict

from img2img_jax.diffusion.strength import MODES
from img2img_jax.lab import experiment_config

CHANGES = {
    "": dict(
        strengths=(0.3, 0.5, 0.7, 0.9),
        seeds=(0,),
        network_evaluations=(5, 10, 20, 40),
        settings=dict(strength_mode=MODES, scheduler=("ddim", "euler", "euler_a", "heun", "dpmpp_2m", "unipc")),
    ),
    "embedded": dict(
        max_inputs=3,
        strengths=(0.3, 0.6, 0.9),
        seeds=(0,),
        network_evaluations=(4, 8, 16),
        settings=dict(strength_mode=MODES, scheduler=("ddim", "euler_a", "heun", "dpmpp_2m")),
    ),
    "tiny": dict(
        max_inputs=2,
        strengths=(0.3, 0.9),
        seeds=(0,),
        network_evaluations=(3, 6),
        settings=dict(strength_mode=MODES, scheduler=("ddim", "heun")),
    ),
}


def get_config(arg: str = "") -> ConfigDict:
    """The configuration for an argument above."""
    return experiment_config("solver_and_steps", arg, CHANGES.get(arg, {}), dict(reference_lines=False))
