"""Samples are batched without loss, in one shape per picture size, and each gets its own result."""

import dataclasses
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img_jax import sweep

PROVENANCE = dict.fromkeys(("resize", "background", "model", "revision", "variant", "dtype", "weights_sha256"), "x")


def _sample(strength=0.5, seed=0, shape=(8, 8), name="a.png"):
    pixels = np.full((*shape, 3), 10, np.uint8)
    return sweep.Sample(
        image=Path(name), image_sha256="0", pixels=pixels, prompt=f"p {name}", strength=strength, seed=seed
    )


@pytest.mark.parametrize(
    "count, max_size, lengths",
    [(1, 8, [1]), (8, 8, [8]), (9, 8, [5, 4]), (18, 8, [6, 6, 6]), (3, 1, [1, 1, 1]), (7, 3, [3, 3, 1])],
)
def test_batches_are_few_and_of_one_shape(count, max_size, lengths):
    batches = sweep.make_batches([_sample(seed=i) for i in range(count)], max_size)
    assert [len(batch.samples) for batch in batches] == lengths
    assert {batch.size for batch in batches} == {max(lengths)}
    assert all(len(batch.rows()) == batch.size for batch in batches)
    assert sorted(s.seed for batch in batches for s in batch.samples) == list(range(count))


def test_sizes_are_not_mixed_and_equal_strengths_sit_together():
    samples = [
        _sample(strength, seed, shape) for shape in ((8, 8), (8, 16)) for seed in (0, 1) for strength in (0.9, 0.1)
    ]
    batches = sweep.make_batches(samples, 2)
    assert [({s.pixels.shape for s in b.samples}, {s.strength for s in b.samples}) for b in batches] == [
        ({(8, 8, 3)}, {0.1}),
        ({(8, 8, 3)}, {0.9}),
        ({(8, 16, 3)}, {0.1}),
        ({(8, 16, 3)}, {0.9}),
    ]


def test_no_samples_no_batches_and_no_batch_of_nothing():
    assert sweep.make_batches([], 4) == []
    with pytest.raises(ValueError, match="batch size 0"):
        sweep.make_batches([_sample()], 0)


def test_rows_place_the_samples_and_fill_up_with_copies():
    a, b = _sample(0.1), _sample(0.2)
    assert sweep.Batch(samples=[a, b], size=5, first=2).rows() == [a, a, a, b, b]
    assert sweep.Batch(samples=[a], size=3, first=2).rows() == [a, a, a]


@dataclasses.dataclass(frozen=True)
class _Start:
    steps: int


def test_run_passes_everything_on_and_pairs_results_with_samples():
    calls = []

    def pipe(prompt, image, **settings):
        calls.append((prompt, image, settings))
        pictures = [Image.new("RGB", (8, 8), (seed, 0, 0)) for seed in settings["seed"]]
        starts = [_Start(round(10 * strength)) for strength in settings["strength"]]
        return types.SimpleNamespace(images=pictures, strength=starts)

    settings = sweep.Settings(
        num_inference_steps=7,
        guidance_scale=1.5,
        negative_prompt="n",
        scheduler="ddim",
        strength_mode="exact",
        noise_at_one="leak",
    )
    samples = [_sample(0.1 * i, 100 + i, name=f"{i}.png") for i in range(1, 4)]
    results = list(sweep.run(pipe, sweep.make_batches(samples, 2), settings, PROVENANCE | {"versions": {"jax": "1"}}))

    assert [(r.sample, r.picture.getpixel((0, 0))[0]) for r in results] == [(s, s.seed) for s in samples]
    assert [call[2]["seed"] for call in calls] == [[101, 102], [103, 103]]
    prompt, image, passed = calls[0]
    assert prompt == ["p 1.png", "p 2.png"] and image.shape == (2, 8, 8, 3) and image.dtype == np.uint8
    assert passed == {
        "strength": [samples[0].strength, samples[1].strength],
        "seed": [101, 102],
        "output_type": "pil",
        **dataclasses.asdict(settings),
    }
    recorded = results[1].parameters
    assert (recorded.seed, recorded.strength, recorded.prompt) == (102, samples[1].strength, "p 2.png")
    assert (recorded.batch_size, recorded.batch_index, recorded.start) == (2, 1, {"steps": 2})
    assert (recorded.scheduler, recorded.dtype, recorded.versions) == ("ddim", "x", {"jax": "1"})
    assert Path(recorded.image).is_absolute()
