"""The two knobs together.

Command:
  python experiments/guidance_vs_strength/run.py --config=configs/guidance_vs_strength.py:embedded --workdir=runs/gs

Arguments:
  (none)            Stable Diffusion 1.5 at 512 px, with --data; 6 guidance scales x 9 strengths x 2 seeds: for 100
                    pictures 10,800 outputs, a quarter more than strength_sweep. Scales mix in a batch.
  embedded          4 pictures of 64 px, 4 scales x 5 strengths x 2 seeds.
  tiny              the same code in two minutes on two cores.
  instruct_pix2pix  the SDEdit baseline of InstructPix2Pix (2211.09800): CLIP direction against CLIP-I, strengths 0.3 to
                    0.9; --data with source_prompt.
Expected: guidance moves alignment where strength has left room for it, and costs fidelity there; at low strengths it
does next to nothing.
"""

from ml_collections import ConfigDict

from img2img_jax.lab import experiment_config, grid

CHANGES = {
    "": dict(strengths=grid(0.1, 0.2), seeds=(0, 1), settings=dict(guidance_scale=(1.0, 2.0, 4.0, 7.5, 10.0, 15.0))),
    "embedded": dict(max_inputs=4, strengths=grid(0.2, 0.2), settings=dict(guidance_scale=(1.0, 2.0, 4.0, 8.0))),
    "tiny": dict(max_inputs=2, seeds=(0,), strengths=(0.3, 0.6, 0.9), settings=dict(guidance_scale=(1.5, 4.0, 8.0))),
}
INSTRUCT_PIX2PIX = dict(
    strengths=grid(0.1, 0.3, 0.9),
    seeds=(0,),
    settings=dict(guidance_scale=(7.5,)),
    metrics=("clip_direction", "clip_image"),
    reference_lines=False,
)


def get_config(arg: str = "") -> ConfigDict:
    """The configuration for an argument above."""
    if arg == "instruct_pix2pix":
        return experiment_config("guidance_vs_strength", "", INSTRUCT_PIX2PIX)
    return experiment_config("guidance_vs_strength", arg, CHANGES.get(arg, {}))
