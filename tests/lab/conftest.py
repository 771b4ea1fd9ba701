"""The rows of a small run, whose numbers are known."""

import json

import numpy as np
import pytest
from PIL import Image

from img2img_jax.lab import Results


def row(index, image, seed, strength, group="a", **more):
    start = {"log_snr": "inf" if strength == 0 else 2 - 4 * strength, "timestep": 1000 * strength}
    return {
        "index": index,
        "image": image,
        "image_sha256": f"of {image}",
        "prompt": "x",
        "seed": seed,
        "strength": strength,
        "scheduler": "ddim",
        "guidance_scale": 4.0,
        "group": group,
        "start": start | {"steps": 8, "network_evaluations": 8},
        "output": f"images/{index}.png",
        "metrics": {"l1": strength / 2 + seed / 10, "psnr": "inf" if strength == 0 else 20 - 10 * strength},
    } | more


@pytest.fixture
def workdir(tmp_path):
    """Two groups of one picture, two seeds, three strengths; pictures as bright as the strength."""
    cells = [(s, n, g) for g in "ab" for s in (0.0, 0.5, 1.0) for n in (0, 1)]
    rows = [row(i, f"{g}.png", n, s, g) for i, (s, n, g) in enumerate(cells)]
    rows.append({"index": 12, "image": "c.png", "error": "c.png: broken"})
    line = row(13, "a.png", 0, 0.0, reference="VAE round trip", metrics={"l1": 0.05, "psnr": 30.0})
    rows.append({name: value for name, value in line.items() if name not in ("start", "strength", "output")})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows))
    (tmp_path / "images").mkdir()
    for each in rows:
        if "output" in each:
            pixels = np.full((4, 4, 3), 255 * each["strength"], np.uint8)
            Image.fromarray(pixels).save(tmp_path / each["output"])
    return tmp_path


@pytest.fixture
def results(workdir):
    return Results.read(workdir)
