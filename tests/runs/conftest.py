"""A folder of pictures, some of them unusable, and a pipeline that makes pictures without a network."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MANIFEST = {"code_sha256": "12", "git_commit": "34", "devices": {"count": 1}}
PROVENANCE = dict.fromkeys(("model", "revision", "variant"), None) | {
    "resize": "crop",
    "background": "white",
    "dtype": "float32",
    "weights_sha256": "ab" * 32,
    "versions": {"img2img_jax": "0"},
}


@dataclasses.dataclass(frozen=True)
class Start:
    """Stands for a resolved start; clean pictures have an infinite log-SNR."""

    strength: float
    log_snr: float


@dataclasses.dataclass
class Output:
    images: list
    strength: list


class Painter:
    """Mixes input and noise by strength. Pictures depend on their place in the batch, as compiled ones may."""

    folder, vae_scale_factor, native_size = Path("."), 8, 16

    def __init__(self):
        self.calls = []

    def __call__(self, prompt, image, *, strength, seed, guidance_scale, scheduler, **_):
        self.calls.append(dict(prompt=prompt, strength=strength, seed=seed, guidance_scale=guidance_scale))
        pictures, scales = [], np.broadcast_to(guidance_scale, len(prompt))
        for place, (text, pixels, s, n, scale) in enumerate(zip(prompt, image, strength, seed, scales, strict=True)):
            rng = np.random.default_rng([n, place, len(text), int(scale), len(scheduler or "")])
            noise = rng.integers(0, 256, pixels.shape)
            pictures.append(Image.fromarray(np.uint8((1 - s) * pixels + s * noise)))
        return Output(pictures, [Start(s, float("inf") if s == 0 else 1 - s) for s in strength])


def fill(folder, count=5):
    """Good pictures of two sizes with prompts, and three inputs that cannot be used."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, lines = np.random.default_rng(0), []
    for n in range(count):
        size = (16, 24, 3) if n == 2 else (16, 16, 3)
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(folder / f"p{n}.png")
        lines.append({"file_name": f"p{n}.png", "prompt": f"picture {'x' * n}"})
    (folder / "broken.png").write_bytes((folder / "p0.png").read_bytes()[:60])
    (folder / "silent.png").write_bytes((folder / "p0.png").read_bytes())
    lines[1:1] = [{"file_name": "broken.png", "prompt": "a"}, {"file_name": "missing.png", "prompt": "b"}]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def files(workdir):
    """Bytes of everything that must not depend on interruptions."""
    return {
        str(path.relative_to(workdir)): path.read_bytes()
        for path in sorted(workdir.rglob("*"))
        if path.is_file() and path.name != "seconds.jsonl"
    }


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / "in")


@pytest.fixture
def manifest():
    return MANIFEST


@pytest.fixture
def provenance():
    return PROVENANCE
