"""Line drawings and strokes: how much structure is kept where the prompt is reached.

Command:
  python experiments/sketch_to_image/run.py --config=configs/sketch_to_image.py:embedded --workdir=runs/sketch_to_image

Arguments:
  (none)    Stable Diffusion 1.5 at 512 px, with --data: the pictures as given, and as simulated strokes; 20 strengths,
            4 seeds. Strokes by a median filter of 23 px and 6 colours. Cost: twice strength_sweep's.
  embedded  4 line drawings, 4 simulated strokes, one drawing by hand; 64 px, 11 strengths, 2 seeds.
  tiny      the same code in two minutes on two cores.
  sdedit    SDEdit (2108.01073): t0 in 0.01, 0.1 ... 1; L2 to the strokes, KID to the pictures; 256 px; --data, --model.
            The paper's models are unconditional; here the prompt may be empty, and guidance is off.
Expected: a band of strengths around 0.5 to 0.7 in which most of both is had; SDEdit's paper says 0.3 to 0.6.
"""

from ml_collections import ConfigDict

from img2img_jax.lab import experiment_config, grid
from img2img_jax.lab.config import PICTURES

STROKES = "simulated strokes"
EMBEDDED = dict(
    inputs={
        "line drawings": "experiments/inputs/line_drawings",
        "coloured strokes": "experiments/inputs/coloured_strokes.jsonl",
    },
    strokes={STROKES: PICTURES},
    stroke_filter=5,  # as wide for 64 pixels as 23 is for 256
)
SDEDIT = dict(
    height=256,
    width=256,
    strengths=(0.01, *grid(0.1, 0.1)),
    settings=dict(guidance_scale=(1.0,), num_inference_steps=(50,)),
    metrics=("mse",),
)
WHOLE = dict(strokes={STROKES: ""}, strengths=grid(0.05, 0.05))


def get_config(arg: str = "") -> ConfigDict:
    """The configuration for an argument above."""
    if arg == "sdedit":
        return experiment_config("sketch_to_image", "", WHOLE, SDEDIT)
    changes = EMBEDDED | dict(max_inputs=2 if arg == "tiny" else 4)
    return experiment_config("sketch_to_image", arg, changes if arg else WHOLE)
