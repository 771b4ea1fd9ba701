"""Networks without weights are those of the checkpoints."""

import jax
import pytest
from flax import nnx

from img2img_jax import Img2ImgPipeline
from img2img_jax.aot.networks import Networks
from img2img_jax.models.attention import Attention


def shapes(network):
    return {path: leaf.shape for path, leaf in nnx.to_flat_state(nnx.state(network))}


def test_the_embedded_model_is_what_the_pipeline_loads():
    networks, pipe = Networks.of("emoji"), Img2ImgPipeline.from_pretrained()
    assert shapes(networks.unet) == shapes(pipe.unet)
    assert shapes(networks.vae) == shapes(pipe.vae)
    assert shapes(networks.texts["text_encoder"]) == shapes(pipe.text_encoder)
    assert networks.scheduler_config == pipe.scheduler_config


@pytest.mark.parametrize("flash", [True, False])
def test_attention_goes_the_way_asked_for_and_no_weight_is_made(flash):
    networks = Networks.of("emoji", flash=flash)
    ways = {module.flash for _, module in nnx.iter_modules(networks.unet) if isinstance(module, Attention)}
    assert ways == {flash}
    leaves = jax.tree.leaves(nnx.state(networks.unet))
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) and leaf.dtype == "bfloat16" for leaf in leaves)
