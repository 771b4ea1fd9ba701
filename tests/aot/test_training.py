"""A training step, on a slice."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from img2img_jax import make_mesh
from img2img_jax.aot import hlo
from img2img_jax.models import attention_tpu
from img2img_jax.models.attention import Attention
from img2img_jax.parallel import batch_sharding
from img2img_jax.partition import PARTITION
from img2img_jax.training.fit import FitConfig, TrainState, update_step


@pytest.mark.parametrize("axes", [dict(), dict(fsdp=4), dict(fsdp=2, tensor=2)], ids=str)
def test_long_attention_trains_on_several_chips(tpu_slice, monkeypatch, axes):
    """The compiler cannot split the flash kernel: every chip runs it on its samples and heads, forward and back."""
    monkeypatch.setattr(attention_tpu, "VECTOR_MEMORY", 0)
    mesh = make_mesh(devices=tpu_slice("v5e:2x2"), **axes)
    module = Attention(256, 2, dtype=jnp.bfloat16, param_dtype=jnp.float32, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(module)
    transform = optax.sgd(1.0)

    def loss(params, frozen, batch, key):
        return jnp.square(nnx.merge(graphdef, params)(batch["x"]).astype(jnp.float32)).mean(), {}

    def on_mesh(leaf, sharding):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    state = TrainState(step=jnp.int32(0), params=params, ema=params, opt_state=transform.init(params))
    places = PARTITION.shardings(state, mesh)
    update = update_step(loss, transform, FitConfig(steps=1), places, mesh)
    batch = {"x": jax.ShapeDtypeStruct((4, 1024, 256), jnp.bfloat16, sharding=batch_sharding(mesh))}
    compiled = update.lower(jax.tree.map(on_mesh, state, places), None, batch, seed=np.uint32(0)).compile()
    kernels = hlo.kernels(compiled.as_text())
    assert kernels == 3, "forward, keys and values, queries"
