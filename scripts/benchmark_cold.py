"""The first picture of a fresh process, and the most memory that it held. Part of scripts/benchmark.py.

python scripts/benchmark_cold.py --side=ours --folder=img2img_jax/assets/model
"""

import json
import resource
import time

BEGIN = time.perf_counter()

from absl import app, flags  # noqa: E402  (imports are what is measured)

_SIDE = flags.DEFINE_enum("side", "ours", ["ours", "torch"], "Who makes the picture.")
_FOLDER = flags.DEFINE_string("folder", None, "Checkpoint.", required=True)
_SIZE = flags.DEFINE_integer("size", 64, "Side of the picture in pixels.")
_STEPS = flags.DEFINE_integer("steps", 20, "Inference steps.")


def ours(picture, **options):
    from img2img_jax import Img2ImgPipeline

    pipe = Img2ImgPipeline.from_pretrained(_FOLDER.value)
    pipe("red apple, 3d style", picture[None], output_type="np", scheduler="ddim", **options)


def theirs(picture, **options):
    import torch
    from benchmark_torch import load

    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None]
    load(_FOLDER.value)("red apple, 3d style", image=tensor, output_type="np", **options)


def main(argv):
    del argv
    import numpy as np

    picture = np.random.default_rng(0).random((_SIZE.value, _SIZE.value, 3), np.float32)
    run = ours if _SIDE.value == "ours" else theirs
    run(picture, strength=0.8, num_inference_steps=_STEPS.value, guidance_scale=4.0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": time.perf_counter() - BEGIN, "peak_mib": peak}))


if __name__ == "__main__":
    app.run(main)
