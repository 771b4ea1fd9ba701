"""FLOPs are those of the products, counted by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from img2img_jax.aot.flops import count_flops

A, B = jnp.ones((4, 8)), jnp.ones((8, 16))
PRODUCT = 2 * 4 * 8 * 16


def flops(function, *arguments, **options):
    return count_flops(jax.make_jaxpr(function)(*arguments).jaxpr, **options)


def turns(length):
    return lambda a, b: lax.scan(lambda carry, _: (carry + a @ b, None), jnp.zeros((4, 16)), length=length)[0]


def until_large(a, b):
    return lax.while_loop(lambda x: x.sum() < 9, lambda x: x + a @ b, jnp.zeros((4, 16)))


def either(a, b):
    return lax.cond(a.sum() > 0, lambda: a @ b, lambda: a @ b + a @ b)


@pytest.mark.parametrize(
    ("function", "products"),
    [(jnp.matmul, 1), (jax.jit(jnp.matmul), 1), (turns(5), 5), (until_large, 1), (either, 2), (jnp.add, 0)],
)
def test_products_are_counted_through_loops_and_branches(function, products):
    b = A if function is jnp.add else B
    assert flops(function, A, b) == products * PRODUCT


@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (2, 1), (1, 2)])
def test_convolutions_count_their_taps(groups, stride):
    def convolve(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
        )

    side = 8 // stride
    wanted = 2 * (3 * side * side * 6) * (3 * 3 * 4 // groups)
    assert flops(convolve, jnp.ones((3, 8, 8, 4)), jnp.ones((3, 3, 4 // groups, 6))) == wanted


def test_of_ways_that_differ_by_platform_the_portable_one_counts():
    def product(a, b):
        return a @ b + lax.platform_dependent(a, b, tpu=lambda a, b: a @ b + a @ b, default=jnp.matmul)

    assert flops(product, A, B) == 2 * PRODUCT
    assert flops(product, A, B, kernels_only=True) == PRODUCT
    assert flops(product, A, B, kernels_only=True, lanes=128) == 2 * 4 * 128 * 128
