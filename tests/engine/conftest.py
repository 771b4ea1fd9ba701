"""A tiny pipeline, and jobs of many kinds for it."""

import hashlib

import numpy as np
import pytest

from img2img_jax.engine import Job
from img2img_jax.testing.tiny import random_images, tiny_pipeline

SAMPLERS = ["ddim", "euler_a", "unipc", "heun", "pndm", "dpmpp_2m_sde"]


@pytest.fixture(scope="session")
def pipe():
    return tiny_pipeline(shallow=True)


@pytest.fixture(scope="session")
def images():
    return np.asarray(np.rint(255 * random_images(3)), np.uint8)


@pytest.fixture
def jobs(images):
    """Nine jobs that differ in everything that is data."""
    return [
        Job(
            prompt=f"a {'red' * (n % 3)} cat",
            negative_prompt=["ugly", None][n % 2],
            image=images[n % 3],
            strength=strength,
            seed=n,
            num_inference_steps=[6, 9][n % 2],
            guidance_scale=2.0 + n,
            guidance_rescale=0.1 * n,
            scheduler=SAMPLERS[n % 6],
            eta=0.5 if n % 6 == 0 else 0.0,
        )
        for n, strength in enumerate([0, 0.2, 0.5, 1, 0.9, 0.4, 0.7, 0.3, 1])
    ]


def sha256(result):
    """Of all that is computed."""
    latents = b"" if result.latents is None else result.latents.tobytes()
    return hashlib.sha256(latents + np.asarray(result.image).tobytes()).hexdigest()


@pytest.fixture(scope="session")
def hashes():
    """Hashes of results, in the order of the jobs."""

    def run(engine, jobs, **options):
        found = {result.index: sha256(result) for result in engine.run(jobs, **options)}
        assert len(found) == len(jobs)
        return [found[index] for index in range(len(jobs))]

    return run
