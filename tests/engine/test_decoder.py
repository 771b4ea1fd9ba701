"""Latents are decoded in full batches; what is left at the end is filled up."""

import numpy as np

from img2img_jax.engine.decoder import Decoder, Made


def test_every_sample_comes_back_with_its_own_picture():
    batches = []
    decoder = Decoder(lambda latents: batches.append(latents) or latents / 10, size=3)
    made = [Made(ticket=n, latents=np.full((1, 1, 1), n, np.float32)) for n in range(5)]
    for each in made[:2]:
        decoder.add(each)
    assert not batches and not list(decoder.results())
    for each in made[2:]:
        decoder.add(each)
    assert [found.ticket for found in decoder.results()] == [0, 1, 2]
    decoder.flush()
    decoder.flush()  # nothing is left
    late = list(decoder.results())
    assert [found.ticket for found in late] == [3, 4] and late[0].latents is made[3].latents
    np.testing.assert_allclose([found.picture.item() for found in late], [0.65, 0.7], rtol=1e-6)
    assert [batch.ravel().tolist() for batch in batches] == [[0, 1, 2], [3, 4, 4]]
