"""Measures the exported model and writes its card.

  python experiments/train_emoji/evaluate.py --model=img2img_jax/assets/model

leaves ``evaluation.json``, ``card_*.png`` and ``README.md`` (the card) in the model's folder.
"""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from batches import held_out, load_emoji
from card import write_card
from flax import nnx
from judges import ClipJudge, StyleJudge, shows_colour
from PIL import Image, ImageDraw

from img2img_jax import Img2ImgPipeline
from img2img_jax.checkpoints import load_component, write_json
from img2img_jax.data.captions import canonical
from img2img_jax.data.emoji import STYLES, EmojiSet
from img2img_jax.models import AutoencoderKL
from img2img_jax.reports.contact_sheet import contact_sheet
from img2img_jax.training.pixels import to_model
from img2img_jax.training.vae_loss import psnr

_MODEL = flags.DEFINE_string("model", "img2img_jax/assets/model", "Folder of the exported model.")
_DATA = flags.DEFINE_string("data", None, "Folder of the emoji set; default: the user cache.")
_CONCEPTS = flags.DEFINE_integer("num_concepts", 84, "Concepts the UNet was trained on.")
_STEPS = flags.DEFINE_integer("steps", 25, "Sampling steps.")
_SCALE = flags.DEFINE_float("guidance_scale", 4.0, "Guidance scale.")

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")
THINGS = ("apple", "car", "fish", "tulip", "umbrella", "balloon")


def grey_disc(size: int) -> np.ndarray:
    """A grey disc on white, uint8 [size, size, 3]: shape without colour."""
    canvas = Image.new("RGB", (size, size), "white")
    margin = size // 8
    ImageDraw.Draw(canvas).ellipse((margin, margin, size - margin, size - margin), fill=(128, 128, 128))
    return np.asarray(canvas)


class Evaluation:
    """One method a claim; each returns figures and may leave a picture."""

    def __init__(self, model: Path, emoji: EmojiSet):
        self.model, self.emoji = model, emoji
        self.pipe = Img2ImgPipeline.from_pretrained(model)
        self.judge = ClipJudge(model)
        self.size = emoji.images.shape[1]
        self.seen = emoji.select(split="train", num_concepts=_CONCEPTS.value)

    def draw(self, prompts: list[str], images: np.ndarray, strength, seed=0) -> np.ndarray:
        """Pictures in 0..1, in batches of one size so that nothing recompiles."""
        size, results = 12, []
        strength = np.broadcast_to(np.asarray(strength, float), len(prompts))
        for first in range(0, len(prompts), size):
            rows = [min(i, len(prompts) - 1) for i in range(first, first + size)]
            out = self.pipe(
                [prompts[i] for i in rows],
                images[rows],
                strength=[float(strength[i]) for i in rows],
                seed=[seed + i for i in rows],
                num_inference_steps=_STEPS.value,
                guidance_scale=_SCALE.value,
                strength_mode="continuous",
                output_type="np",
            )
            results.append(out.images)
        return np.concatenate(results)[: len(prompts)]

    def vae(self) -> dict[str, float]:
        """PSNR of reconstructions of concepts held out altogether."""
        vae = load_component(AutoencoderKL, self.model / "vae", dtype=jnp.float32)
        graphdef, state = nnx.split(vae)
        index = held_out(self.emoji, "unseen_concept", 96)
        images = np.asarray(self.emoji.images[index])

        @jax.jit
        def measured(state, x):
            vae, x = nnx.merge(graphdef, state), to_model(x)
            return psnr(vae.decode(vae.encode(x)[0]), x)

        values = np.concatenate([np.asarray(measured(state, images[i : i + 16])) for i in range(0, 96, 16)])
        return {"psnr_db": float(values.mean())}

    def clip(self) -> dict[str, float]:
        """Top-1 of 256 captions for pictures of held-out styles, and of held-out concepts."""
        result = {}
        for split in ("unseen_style", "unseen_concept"):
            index = held_out(self.emoji, split, 256)
            pictures = self.judge.pictures(self.emoji.images[index] / np.float32(255))
            texts = self.judge.texts([canonical(self.emoji.records[i]) for i in index])
            result[f"top1_of_{len(index)}_{split}"] = float(
                ((pictures @ texts.T).argmax(-1) == np.arange(len(index))).mean()
            )
        return result

    def colours(self) -> dict[str, float]:
        """A grey disc at strength 0.9 under six colours x six things: is the coloured area of the named hue?"""
        cases = [(colour, thing) for thing in THINGS for colour in COLOURS]
        disc = np.stack([grey_disc(self.size)] * len(cases))
        drawn = self.draw([f"{colour} {thing}, flat style" for colour, thing in cases], disc, 0.9)
        obeyed = [shows_colour(np.uint8(x * 255), c) for x, (c, _) in zip(drawn, cases, strict=True)]
        rows = [list(np.uint8(drawn[i : i + 6] * 255)) for i in range(0, 36, 6)]
        self._sheet("card_colours.png", rows, THINGS, list(COLOURS), "A grey disc at strength 0.9: colour words")
        by_colour = {c: float(np.mean([o for o, (k, _) in zip(obeyed, cases, strict=True) if k == c])) for c in COLOURS}
        return {"obeyed": float(np.mean(obeyed)), **{f"obeyed_{c}": v for c, v in by_colour.items()}}

    def styles(self) -> dict[str, float]:
        """Text-to-image of seen concepts in every style: does a classifier trained on real pictures see that style?"""
        real = [i for i in self.emoji.select(split="train") if self.emoji.records[i].style in STYLES]
        features = self.judge.pictures(self.emoji.images[real] / np.float32(255))
        labels = [self.emoji.records[i].style for i in real]
        even = np.arange(len(real)) % 2 == 0
        judge = StyleJudge.fit(features[even], [x for x, e in zip(labels, even, strict=True) if e])
        truth = [x for x, e in zip(labels, even, strict=True) if not e]
        accuracy = np.mean([a == b for a, b in zip(judge(features[~even]), truth, strict=True)])
        names = self._names(8)
        cases = [(name, style) for name in names for style in STYLES]
        blank = np.full((len(cases), self.size, self.size, 3), 255, np.uint8)
        drawn = self.draw([f"{name}, {style}" for name, style in cases], blank, 1.0)
        found = judge(self.judge.pictures(drawn))
        rows = [list(np.uint8(drawn[i : i + len(STYLES)] * 255)) for i in range(0, len(cases), len(STYLES))]
        self._sheet("card_styles.png", rows, names, list(STYLES), "Text-to-image (strength 1): style words")
        hit = float(np.mean([f == s for f, (_, s) in zip(found, cases, strict=True)]))
        return {"obeyed": hit, "judge_accuracy_on_real_pictures": float(accuracy)}

    def _names(self, count: int) -> list[str]:
        records = [self.emoji.records[i] for i in self.seen]
        names = list(dict.fromkeys(r.name for r in sorted(records, key=lambda r: r.concept_rank)))
        return [names[i] for i in np.linspace(0, len(names) - 1, count).astype(int)]

    def concepts(self) -> dict[str, float]:
        """Strength 1: is the name among CLIP's top 5 of 100 names?"""
        records = {r.name: r for r in self.emoji.records if r.split == "unseen_concept" and r.style in STYLES}
        groups = {"seen": self._names(36), "unseen": sorted(records)[:24]}
        shown = {*groups["seen"], *groups["unseen"]}
        others = [name for name in dict.fromkeys(r.name for r in self.emoji.records) if name not in shown]
        result = {}
        for group, names in groups.items():
            choices = names + others[: 100 - len(names)]
            prompts = [f"{name}, flat style" for name in names]
            blank = np.full((len(names), self.size, self.size, 3), 255, np.uint8)
            drawn = self.draw(prompts, blank, 1.0, seed=7)
            scores = self.judge.pictures(drawn) @ self.judge.texts([f"{name}, flat style" for name in choices]).T
            ranks = (scores > scores[np.arange(len(names)), np.arange(len(names))][:, None]).sum(-1)
            result[f"{group}_top5_of_100"] = float((ranks < 5).mean())
            grid = [list(np.uint8(drawn[i : i + 12] * 255)) for i in range(0, len(names), 12)]
            self._sheet(
                f"card_{group}.png", grid, [""] * len(grid), [""] * 12, f"Strength 1, {group} concepts, in order"
            )
        return result

    def strengths(self) -> dict[str, list[float]]:
        """Seen pictures redrawn in another style: PSNR to the input and CLIP cosine to the prompt, by strength."""
        grid = [round(0.1 * i, 1) for i in range(1, 11)]
        index = self.seen[np.linspace(0, len(self.seen) - 1, 12).astype(int)]
        images = np.asarray(self.emoji.images[index])
        prompts = []
        for i in index:
            record = self.emoji.records[i]
            others = [style for style in STYLES if style != record.style]
            prompts.append(f"{record.name}, {others[record.concept_rank % len(others)]}")
        texts, unit = self.judge.texts(prompts), images / np.float32(255)
        fidelity, alignment, columns = [], [], []
        for strength in grid:
            drawn = self.draw(prompts, images, strength)
            fidelity.append(float((-10 * np.log10(np.square(drawn - unit).mean((1, 2, 3)) + 1e-9)).mean()))
            alignment.append(float((self.judge.pictures(drawn) * texts).sum(-1).mean()))
            columns.append(np.uint8(drawn * 255))
        rows = [[images[i], *(c[i] for c in columns)] for i in range(12)]
        labels = ["input", *(f"{s:g}" for s in grid)]
        self._sheet("card_strengths.png", rows, prompts, labels, "One seed, strength 0.1 to 1")
        return {"strength": grid, "psnr_db": fidelity, "clip_cosine": alignment}

    def _sheet(self, name: str, rows, row_labels, column_labels, title: str) -> None:
        pictures = [[Image.fromarray(np.asarray(p)) for p in row] for row in rows]
        sheet = contact_sheet(pictures, row_labels=list(row_labels), column_labels=list(column_labels), title=title)
        sheet.save(self.model / name)


def main(_: list[str]) -> None:
    model = Path(_MODEL.value)
    size = Img2ImgPipeline.from_pretrained(model).native_size
    evaluation = Evaluation(model, load_emoji(_DATA.value, size))
    result = {"num_concepts": _CONCEPTS.value, "steps": _STEPS.value, "guidance_scale": _SCALE.value}
    for name in ("vae", "clip", "colours", "styles", "concepts", "strengths"):
        result[name] = getattr(evaluation, name)()
        print(name, json.dumps(result[name]))
    write_json(model / "evaluation.json", result)
    write_card(model)


if __name__ == "__main__":
    app.run(main)
