"""The TPU's ways of attention compute attention, and are compiled where they are meant to be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import NamedSharding, PartitionSpec

from img2img_jax.aot import hlo
from img2img_jax.models import attention as seam
from img2img_jax.models import attention_tpu
from img2img_jax.parallel import axes_by_hand, batch_spec, make_mesh


def qkv(n, m, d, heads=2):
    keys = jax.random.split(jax.random.key(0), 3)
    return [jax.random.normal(key, (1, length, heads, d)) for key, length in zip(keys, (n, m, m), strict=True)]


def plain(q, k, v):
    weights = jax.nn.softmax(jnp.einsum("bnhd,bmhd->bhnm", q, k) * q.shape[-1] ** -0.5)
    return jnp.einsum("bhnm,bmhd->bnhd", weights, v)


# Stable Diffusion 1's heads of 40 and 80, one wider than a tile, and lengths that are no multiple of a block.
@pytest.mark.parametrize(("n", "m", "d"), [(256, 128, 40), (100, 300, 80), (128, 128, 160)])
def test_the_kernel_is_attention(n, m, d):
    q, k, v = qkv(n, m, d)
    with pltpu.force_tpu_interpret_mode():
        found = attention_tpu.flash(q, k, v)
    np.testing.assert_allclose(found, plain(q, k, v), atol=2e-6)


def test_the_products_in_blocks_are_attention(monkeypatch):
    q, k, v = qkv(300, 7, 40)
    monkeypatch.setattr(attention_tpu, "VECTOR_MEMORY", 1)
    text = str(jax.make_jaxpr(attention_tpu.dot_product)(q, k, v))
    assert "128,7]" in text and "300,7]" not in text  # no matrix of all scores
    np.testing.assert_allclose(attention_tpu.dot_product(q, k, v), plain(q, k, v), atol=1e-6)


def test_attention_is_long_where_the_scores_exceed_the_vector_memory():
    def is_long(b, n, m):
        return attention_tpu.is_long(*(jax.ShapeDtypeStruct((b, length, 8, 40), jnp.bfloat16) for length in (n, m)))

    assert is_long(2, 4096, 4096)  # Stable Diffusion at 512 px, with guidance
    assert not is_long(2, 1024, 1024)  # its next level
    assert is_long(16, 1024, 1024)
    assert not is_long(64, 4096, 77)  # a prompt


@pytest.fixture
def always_long(monkeypatch):
    monkeypatch.setattr(attention_tpu, "is_long", lambda q, k: True)


@pytest.mark.parametrize(("flash", "kernels"), [(True, 1), (False, 0)])
def test_a_tpu_gets_its_way(always_long, tpu_place, flash, kernels):
    q, k, v = (jax.ShapeDtypeStruct(x.shape, jnp.bfloat16, sharding=tpu_place) for x in qkv(200, 200, 40))
    compiled = jax.jit(lambda *x: seam.attention(*x, flash=flash)).lower(q, k, v).compile()
    assert compiled.as_text().count('custom_call_target="tpu_custom_call"') == kernels


@pytest.mark.parametrize(("heads", "of_a_device"), [(4, 2), (3, 3)])
def test_devices_that_share_their_samples_share_the_heads(tpu_slice, heads, of_a_device):
    mesh = make_mesh(tensor=2, devices=tpu_slice("v5e:2x2"))
    samples = batch_spec(mesh)
    attend = jax.shard_map(
        attention_tpu.flash,
        mesh=mesh,
        in_specs=samples,
        out_specs=samples,
        axis_names=axes_by_hand(mesh),
        check_vma=False,
    )
    place = NamedSharding(mesh, PartitionSpec("data", None, "tensor" if of_a_device < heads else None))
    q = jax.ShapeDtypeStruct((2, 256, heads, 128), jnp.bfloat16, sharding=place)
    text = jax.jit(attend).lower(q, q, q).compile().as_text()
    (kernel,) = (line for line in text.splitlines() if "tpu_custom_call" in line)
    assert f"= bf16[1,{of_a_device},256,128]" in kernel
    assert hlo.collectives(text) == {}


def test_the_widest_heads_fit_the_vector_memory(tpu_place):
    q = jax.ShapeDtypeStruct((1, 2048, 1, 512), jnp.float32, sharding=tpu_place)  # the VAE's, in float32
    jax.jit(attention_tpu.flash).lower(q, q, q).compile()


def test_others_get_the_plain_formula(always_long):
    q, k, v = qkv(9, 7, 4)
    np.testing.assert_array_equal(jax.jit(seam.attention)(q, k, v), jax.jit(seam._whole)(q, k, v))
