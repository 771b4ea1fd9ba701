"""Pictures are encoded once, in full batches, ahead of need, and forgotten after their last use."""

from types import SimpleNamespace

import numpy as np
import pytest

from img2img_jax.engine.encoder import Encoder
from img2img_jax.programs import Posterior


def ticket(n):
    return SimpleNamespace(picture=bytes([n]), pixels=np.full((2, 2, 3), n, np.uint8))


@pytest.fixture
def sent():
    return []


def encoder_of(order, sent, **options):
    def encode(pixels):
        sent.append(pixels)
        return Posterior(mean=pixels[..., :1], logvar=-pixels[..., :1])

    return Encoder(encode, [ticket(n) for n in order], **options)


def test_each_ticket_gets_its_picture_and_each_picture_is_sent_once(sent):
    order = [3, 3, 1, 7, 1, 5, 3, 9, 7]
    encoder = encoder_of(order, sent, size=2, ahead=1)
    for n in order:
        mean, logvar = encoder(ticket(n))
        np.testing.assert_allclose(mean, np.full((2, 2, 1), 2 * n / 255 - 1), atol=1e-6)
        np.testing.assert_array_equal(logvar, -mean)
    values = np.rint((np.concatenate(sent)[:, 0, 0, 0] + 1) * 127.5).astype(int).tolist()
    assert values == [3, 1, 7, 5, 9, 9] and {len(batch) for batch in sent} == {2} and len(encoder) == 5
    assert not encoder._here  # nothing is kept that no ticket wants


def test_batches_are_sent_before_they_are_wanted(sent):
    encoder = encoder_of(range(10), sent, size=2, ahead=2)
    seen = []
    for n in range(10):
        encoder(ticket(n))
        seen.append(len(sent))
    assert seen == [3, 3, 4, 4, 5, 5, 5, 5, 5, 5]
