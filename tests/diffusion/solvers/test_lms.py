"""Linear multistep weights."""

import numpy as np

from img2img_jax.diffusion.solvers.lms import multistep_weights


def test_even_steps_give_adams_bashforth():
    nodes = np.array([4.0, 5.0, 6.0, 7.0])  # newest first, going down in steps of 1
    np.testing.assert_allclose(multistep_weights(nodes, 3.0), -np.array([55, -59, 37, -9]) / 24, rtol=1e-12)
    np.testing.assert_allclose(multistep_weights(nodes[:2], 3.0), [-1.5, 0.5], rtol=1e-12)
    np.testing.assert_allclose(multistep_weights(nodes[:1], 3.0), [-1.0], rtol=1e-12)


def test_uneven_steps_integrate_cubics_exactly():
    nodes, end = np.array([2.0, 3.1, 4.7, 9.0]), 0.5
    got = multistep_weights(nodes, end) @ nodes**3
    np.testing.assert_allclose(got, (end**4 - nodes[0] ** 4) / 4, rtol=1e-12)
