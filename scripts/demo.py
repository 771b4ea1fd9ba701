"""The demo: a picture, a line sketch and a rough coloured drawing, each at strengths 0 to 1.

`make demo` runs this. It is the `img2img` command on the bundled folder, with the embedded model.
"""

import sys
from importlib import resources

from absl import app, flags

from img2img_jax import cli

OUTPUT = flags.DEFINE_string("output", "demo_output", "Folder for the pictures and the contact sheet.")
STEPS = flags.DEFINE_integer("steps", 20, "Inference steps.")
SEED = flags.DEFINE_integer("seed", 0, "Random seed.")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    with resources.as_file(resources.files("img2img_jax") / "assets" / "demo") as inputs:
        arguments = {
            "image": inputs,
            "output": OUTPUT.value,
            "strength": "0,0.2,0.4,0.6,0.8,1",
            "steps": STEPS.value,
            "seed": SEED.value,
            "guidance_scale": 4,
            # The size the embedded model was trained at.
            "height": 64,
            # The three inputs at one strength per batch: weak strengths do not wait for strong ones.
            "batch_size": 3,
        }
        sys.exit(cli.main(["demo", *(f"--{name}={value}" for name, value in arguments.items())]))


if __name__ == "__main__":
    app.run(main)
