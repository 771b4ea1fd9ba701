"""A tiny model of every class, drawn at random, and a folder with one of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from img2img_jax import models
from img2img_jax.checkpoints import save_component

_TOWER = dict(hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2, projection_dim=6)
_TEXT = models.CLIPTextConfig(vocab_size=20, max_position_embeddings=7, eos_token_id=19, **_TOWER)
_CONFIGS = {
    models.AutoencoderKL: models.AutoencoderKLConfig(block_out_channels=(4,), norm_num_groups=2),
    models.AutoencoderTiny: models.AutoencoderTinyConfig(
        encoder_block_out_channels=(4, 4),
        decoder_block_out_channels=(4, 4),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    ),
    models.UNet2DConditionModel: models.UNet2DConditionConfig(
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=2,
        cross_attention_dim=6,
        attention_head_dim=2,
        time_cond_proj_dim=3,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=5,
    ),
    models.CLIPTextModel: _TEXT,
    models.CLIPTextModelWithProjection: _TEXT,
    models.CLIPModel: models.CLIPConfig(
        text_config=_TEXT,
        vision_config=models.CLIPVisionConfig(image_size=8, patch_size=4, **_TOWER),
        projection_dim=6,
    ),
}


def _random(model_class):
    """A model whose every parameter, norms and biases included, is drawn: no two tensors can be mistaken."""
    model = nnx.eval_shape(lambda: model_class(_CONFIGS[model_class], rngs=nnx.Rngs(0)))
    graph, state = nnx.split(model)
    draw = np.random.default_rng(0).standard_normal
    return nnx.merge(graph, jax.tree.map(lambda leaf: jnp.asarray(draw(leaf.shape), jnp.float32), state))


@pytest.fixture(scope="session", params=_CONFIGS, ids=lambda model_class: model_class.__name__)
def any_model(request):
    """One tiny random model for each class that checkpoints hold."""
    return _random(request.param)


@pytest.fixture(scope="session")
def text_model():
    """A tiny random CLIPTextModel."""
    return _random(models.CLIPTextModel)


@pytest.fixture
def folder(text_model, tmp_path):
    """The text model, saved."""
    save_component(text_model, tmp_path / "text_encoder")
    return tmp_path / "text_encoder"
