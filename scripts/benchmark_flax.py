"""The sweep by diffusers' Flax pipeline, in an environment of its time: a child of scripts/benchmark.py.

Reads a request a line from stdin and answers each by a line on stdout, in JSON; arrays lie beside, as .npy files.
    {"do": "load", "folder": "model", ...}      {"done": null}
    {"do": "sweep", "strengths": [0.5], ...}    {"done": null}, or {"error": "what went wrong"}
Imports nothing of img2img_jax, which does not run on the JAX that this pipeline needs.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path


class FlaxSweep:
    """What can be asked for; a request names a method in "do", and its arguments."""

    def versions(self):
        """Of the packages that decide.

        Raises:
          ImportError: one is missing, or diffusers has no Flax pipelines any more.
        """
        import diffusers
        import flax
        import jax
        import transformers
        from diffusers import FlaxStableDiffusionImg2ImgPipeline  # noqa: F401  (absent from new ones)

        return {package.__name__: package.__version__ for package in (jax, flax, diffusers, transformers)}

    def load(self, folder, prompt, steps, guidance):
        """A checkpoint in the diffusers layout, and what is done with it.

        The inputs lie in ``folder`` too, float32: ``pictures.npy`` [B, H, W, 3] in 0..1, ``posterior_noise.npy`` and
        ``noise.npy`` [B, h, w, c].
        """
        import jax.numpy as jnp
        from diffusers import FlaxStableDiffusionImg2ImgPipeline
        from flax.jax_utils import replicate

        self.pipe, parameters = FlaxStableDiffusionImg2ImgPipeline.from_pretrained(
            folder, from_pt=True, dtype=jnp.float32, safety_checker=None, feature_extractor=None
        )
        self.options = {"params": replicate(parameters), "num_inference_steps": steps, "guidance_scale": guidance}
        self._give(Path(folder), prompt)

    def _give(self, folder, prompt):
        """The inputs, for one device."""
        import numpy as np
        from diffusers.models.vae_flax import FlaxDiagonalGaussianDistribution

        # The pipeline hands its key to the posterior alone, once it is given noise: the key may be the draw itself.
        FlaxDiagonalGaussianDistribution.sample = lambda self, key: self.mean + self.std * key
        names = ("pictures", "posterior_noise", "noise")
        pictures, posterior_noise, noise = (np.load(folder / f"{name}.npy") for name in names)
        tokens = self.pipe.tokenizer(
            [prompt] * len(pictures), padding="max_length", truncation=True, return_tensors="np"
        ).input_ids
        self.options |= {"height": pictures.shape[1], "width": pictures.shape[2], "prompt_ids": tokens[None]}
        self.options |= {"prng_seed": posterior_noise[None], "noise": np.moveaxis(noise, -1, 1)[None]}
        self.options["image"] = np.moveaxis(2 * pictures - 1, -1, 1)[None]

    def sweep(self, strengths, result):
        """Pictures in 0..1, float32 [strength, B, H, W, 3], into the file ``result``."""
        import numpy as np

        found = [self.pipe(strength=strength, jit=True, **self.options).images[0] for strength in strengths]
        np.save(result, np.stack(found))

    def cpu_seconds(self):
        """Of all cores, since the process began."""
        return time.process_time()


def serve(requests, answers):
    """Answers until there are no more requests; an error is an answer, with its trace on stderr."""
    peer = FlaxSweep()
    for line in requests:
        request = json.loads(line)
        try:
            answer = {"done": getattr(peer, request.pop("do"))(**request)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def main():
    # Answers have stdout to themselves: what libraries print goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
