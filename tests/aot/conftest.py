"""The tiny pipeline's networks, for slices of TPUs."""

import pytest

from img2img_jax.aot import Networks
from img2img_jax.testing.tiny import tiny_pipeline


@pytest.fixture(scope="session")
def tiny_networks():
    pipe = tiny_pipeline()
    return Networks(
        unet=pipe.unet,
        vae=pipe.vae,
        texts={"text_encoder": pipe.text_encoder},
        scheduler_config=pipe.scheduler_config,
    )
