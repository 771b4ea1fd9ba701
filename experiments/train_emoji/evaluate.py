"""Measures the exported model and writes its card.

  python experiments/train_emoji/evaluate.py --model=img2img_jax/assets/model --judge=runs/judge

leaves ``evaluation.json``, ``card_*.png`` and ``README.md`` (the card) in the model's folder.
"""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from batches import held_out, load_emoji, spread, top1_of_captions
from card import write_card
from colour_judge import LEAST_COLOURED, coloured, shows_colour
from flax import nnx
from judge_stage import judged_by
from picture_judge import PictureJudge
from PIL import Image, ImageDraw

from img2img_jax import Img2ImgPipeline
from img2img_jax.checkpoints import load_component, write_json
from img2img_jax.data.captions import clean_name, split_colour
from img2img_jax.data.emoji import LINE_DRAWING, STYLES, EmojiSet
from img2img_jax.metrics import Evaluator, spearman
from img2img_jax.metrics.clip_features import CLIPFeatures
from img2img_jax.models import AutoencoderKL
from img2img_jax.reports.contact_sheet import contact_sheet
from img2img_jax.training.pixels import batches_of, to_model
from img2img_jax.training.vae_loss import psnr

_MODEL = flags.DEFINE_string("model", "img2img_jax/assets/model", "Folder of the exported model.")
_JUDGE = flags.DEFINE_string("judge", None, "Work directory of the judge stage.", required=True)
_TEACHER = flags.DEFINE_string("teacher", None, "Of a few-step model: what it was distilled from, evaluated before.")
_DATA = flags.DEFINE_string("data", None, "Folder of the emoji set; default: the user cache.")
_CONCEPTS = flags.DEFINE_integer("num_concepts", 300, "Concepts the UNet was trained on.")
_STEPS = flags.DEFINE_integer("steps", 25, "Sampling steps.")
_SCALE = flags.DEFINE_float("guidance_scale", 4.0, "Guidance scale.")

PARTS = ("vae", "clip", "colours", "styles", "concepts", "drawings", "strengths", "replaced")
PICTURES = tuple(style for style in STYLES if style != LINE_DRAWING)
GRID = tuple(round(0.1 * i, 1) for i in range(1, 11))
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")
THINGS = ("apple", "car", "fish", "tulip", "umbrella", "balloon")


def grey_disc(size: int) -> np.ndarray:
    """A grey disc on white, uint8 [size, size, 3]: shape without colour."""
    canvas = Image.new("RGB", (size, size), "white")
    margin = size // 8
    ImageDraw.Draw(canvas).ellipse((margin, margin, size - margin, size - margin), fill=(128, 128, 128))
    return np.asarray(canvas)


def dark_lines(image: np.ndarray) -> np.ndarray:
    """The lines of a picture with dark outlines, black on white: uint8 [H, W, 3]."""
    ink = np.clip((110 - np.asarray(image, np.float32).max(-1)) / 60, 0, 1)
    return np.repeat(np.uint8(255 * (1 - ink))[..., None], 3, axis=-1)


class Evaluation:
    """One method a claim; each returns figures and may leave a picture."""

    def __init__(self, model: Path, emoji: EmojiSet, judge: PictureJudge, clip: Path):
        self.model, self.emoji, self.judge = model, emoji, judge
        self.judge_itself = judged_by(judge, emoji)
        self.pipe = Img2ImgPipeline.from_pretrained(model)
        self.features = CLIPFeatures.load(clip)
        self.evaluator = Evaluator({"clip": self.features}, ["psnr", "ssim", "edge_f1", "clip_text"])
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
        images = np.asarray(self.emoji.images[held_out(self.emoji, "unseen_concept", 96)])
        return {"psnr_db": float(np.mean(psnr(to_model(self._reconstructed(images)), to_model(images))))}

    def _reconstructed(self, images: np.ndarray) -> np.ndarray:
        """What the VAE makes of uint8 [n, H, W, 3]."""
        graphdef, state = nnx.split(load_component(AutoencoderKL, self.model / "vae", dtype=jnp.float32))

        @jax.jit
        def through(state, x):
            vae = nnx.merge(graphdef, state)
            return vae.decode(vae.encode(to_model(x))[0])

        made = np.concatenate([np.asarray(through(state, x)) for x in batches_of(images, 16)])[: len(images)]
        return np.uint8(np.rint(np.clip(made / 2 + 0.5, 0, 1) * 255))

    def clip(self) -> dict[str, float]:
        """The right one of 256 captions for pictures of held-out styles, and of held-out concepts.

        No line drawings of held-out styles: the CLIP that ships saw traced copies of some.
        """
        result = {}
        for split, styles in (("unseen_style", PICTURES), ("unseen_concept", STYLES)):
            result[f"top1_of_256_{split}"], result[f"pictures_{split}"] = top1_of_captions(
                self.emoji,
                split,
                lambda images: self.features.pictures(images / np.float32(255)),
                self.features.texts,
                styles,
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
        """Text-to-image of seen concepts in every style: does a classifier of real pictures see that style?"""
        names = self._names(20)
        cases = [(name, style) for name in names for style in STYLES]
        prompts = [f"{name}, {style}" for name, style in cases]
        blank = self._blank(len(cases))
        drawn = self.draw(prompts, blank, 1.0)
        cosines = self.evaluator(blank / np.float32(255), drawn, prompt=prompts)["clip_text"]
        rows = np.uint8(drawn * 255).reshape(len(names), len(STYLES), *drawn.shape[1:])
        self._sheet("card_styles.png", rows[::2], names[::2], list(STYLES), "Text-to-image (strength 1): style words")
        # By thing, by the style asked for, by the style judged.
        scores = self.judge(np.uint8(drawn * 255))[1].reshape(len(names), len(STYLES), -1)
        scores = scores[..., [self.judge.styles.index(style) for style in STYLES]]
        asked = np.arange(len(STYLES))
        more = scores[:, asked, asked][:, None] > scores
        return {
            "obeyed": float((scores.argmax(2) == asked).mean()),
            "told_apart": float((scores.argmax(1) == asked).mean()),
            "changed": float(more[:, ~np.eye(len(STYLES), dtype=bool)].mean()),
            "clip_cosine": float(np.mean(cosines)),
            "judge_on_real_pictures": self.judge_itself["style"],
            "judge_on_reconstructions": judged_by(self.judge, self.emoji, self._reconstructed)["style"],
        }

    def _blank(self, count: int) -> np.ndarray:
        return np.full((count, self.size, self.size, 3), 255, np.uint8)

    def _names(self, count: int) -> list[str]:
        records = [self.emoji.records[i] for i in self.seen]
        names = list(dict.fromkeys(clean_name(r.name) for r in sorted(records, key=lambda r: r.concept_rank)))
        return spread(names, count).tolist()

    def concepts(self) -> dict[str, float]:
        """Strength 1: is the name among the top 5 of 100, for CLIP and for the judge?"""
        records = {clean_name(r.name): r for r in self.emoji.records if r.style in STYLES}
        unseen = sorted(name for name, r in records.items() if r.split == "unseen_concept")
        groups = {"seen": self._names(36), "unseen": unseen[:36]}
        others = [name for name in records if name not in {*groups["seen"], *groups["unseen"]}]
        column = {concept: k for k, concept in enumerate(self.judge.concepts)}
        result = {"judge_top1_of_all_on_real_pictures": self.judge_itself["concept_top1"]}
        for group, names in groups.items():
            choices = names + spread(others, 100 - len(names)).tolist()
            drawn = self.draw([f"{name}, flat style" for name in names], self._blank(len(names)), 1.0, seed=7)
            texts = self.features.texts([f"{name}, flat style" for name in choices])
            scores = {
                "clip": np.asarray(self.features.pictures(drawn)) @ texts.T,
                "judge": self.judge(np.uint8(drawn * 255))[0][:, [column[records[name].concept] for name in choices]],
            }
            for judge, score in scores.items():
                ranks = (score > np.diagonal(score)[:, None]).sum(-1)
                result[f"{group}_top5_of_100_{judge}"] = float((ranks < 5).mean())
            grid = [list(np.uint8(drawn[i : i + 12] * 255)) for i in range(0, len(names), 12)]
            title = f"Strength 1, {group} concepts, in order"
            self._sheet(f"card_{group}.png", grid, [""] * len(grid), [""] * 12, title)
        return result

    def drawings(self) -> dict[str, float]:
        """Line drawings coloured in at 0.7 and 0.85: filled, in the prompt's colour, on the outline?

        By another hand, of what the UNet was shown; and in the lines it learnt, of what it was not.
        """
        shown = {self.emoji.records[i].concept for i in self.seen}
        records = self.emoji.records
        other_hand = [i for i in self.emoji.select(split="unseen_package") if records[i].concept in shown]
        other_hand = spread(sorted(other_hand, key=lambda i: records[i].concept_rank), 24)
        unknown = [i for i in self._held_out(drawings=True, count=None) if records[i].concept not in shown][:12]
        groups = {"seen": (other_hand, dark_lines), "unseen": (unknown, np.asarray)}
        result, rows, labels = {}, [], []
        for group, (index, drawing) in groups.items():
            images = np.stack([drawing(self.emoji.images[i]) for i in index])
            figures, columns, prompts = self._coloured_in(index, images)
            result |= {f"{group}_{name}": value for name, value in figures.items()}
            rows += list(zip(images, *columns, strict=True))[::2]
            labels += prompts[::2]
        title = "Line drawings, coloured in: of what it was shown, and (the last six) of what it was not"
        self._sheet("card_drawings.png", rows, labels, ["drawing", "0.7", "0.85"], title)
        return result

    def _coloured_in(self, index, images: np.ndarray) -> tuple[dict[str, float], list[np.ndarray], list[str]]:
        """Figures, pictures at either strength, and prompts: a colour in turn, the thing, flat style."""
        words = [COLOURS[k % len(COLOURS)] for k in range(len(index))]
        names = [split_colour(clean_name(self.emoji.records[i].name))[1] for i in index]
        prompts = [f"{word} {name}, flat style" for word, name in zip(words, names, strict=True)]
        result, columns = {}, []
        for strength in (0.7, 0.85):
            drawn = self.draw(prompts, images, strength)
            pictures = np.uint8(drawn * 255)
            filled = [coloured(picture).mean() >= 5 * LEAST_COLOURED for picture in pictures]
            obeyed = [shows_colour(picture, word) for picture, word in zip(pictures, words, strict=True)]
            edges = self.evaluator(images / np.float32(255), drawn, prompt=prompts)["edge_f1"]
            result |= {f"filled_{strength:g}": float(np.mean(filled)), f"colour_{strength:g}": float(np.mean(obeyed))}
            result[f"edge_f1_{strength:g}"] = float(np.mean(edges))
            columns.append(pictures)
        return result, columns, prompts

    def strengths(self) -> dict[str, object]:
        """Held-out pictures redrawn in another style: fidelity to them and CLIP cosine to the prompt, by strength."""
        index, prompts = self._held_out(drawings=False), []
        for i in index:
            record = self.emoji.records[i]
            others = [style for style in STYLES if style != record.style]
            prompts.append(f"{clean_name(record.name)}, {others[record.concept_rank % len(others)]}")
        curves, columns = self._by_strength(index, prompts)
        rows = list(zip(np.asarray(self.emoji.images[index]), *columns, strict=True))
        labels = ["input", *(f"{s:g}" for s in GRID)]
        self._sheet("card_strengths.png", rows, prompts, labels, "One seed, strength 0.1 to 1")
        return curves

    def replaced(self) -> dict[str, object]:
        """The same pictures redrawn as another thing, each as the next one: a prompt that no input meets by itself."""
        index = self._held_out(drawings=False)
        records = [self.emoji.records[i] for i in index]
        prompts = [f"{clean_name(r.name)}, {r.style}" for r in records]
        return self._by_strength(index, prompts[1:] + prompts[:1])[0]

    def _by_strength(self, index: np.ndarray, prompts: list[str]) -> tuple[dict[str, object], list[np.ndarray]]:
        """Mean metrics at every strength of the grid with their rank correlation, and the pictures drawn."""
        images = np.asarray(self.emoji.images[index])
        curves, columns = {name: [] for name in self.evaluator.names}, []
        for strength in GRID:
            drawn = self.draw(prompts, images, strength)
            for name, values in self.evaluator(images / np.float32(255), drawn, prompt=prompts).items():
                curves[name].append(float(np.mean(values)))
            columns.append(np.uint8(drawn * 255))
        ranks = {f"spearman_{name}": spearman(GRID, values) for name, values in curves.items()}
        return {"strength": list(GRID), **curves, **ranks}, columns

    def _held_out(self, *, drawings: bool, count: int | None = 12) -> np.ndarray:
        """Pictures that no stage saw of the most familiar concepts that some have seen in other styles.

        CLIP and the VAE are shown all concepts in other styles, the UNet only the more familiar ones.
        """
        records = self.emoji.records
        index = [i for i in self.emoji.select(split="unseen_style") if (records[i].style == LINE_DRAWING) == drawings]
        return np.asarray(sorted(index, key=lambda i: records[i].concept_rank)[:count])

    def _sheet(self, name: str, rows, row_labels, column_labels, title: str) -> None:
        pictures = [[Image.fromarray(np.asarray(p)) for p in row] for row in rows]
        sheet = contact_sheet(pictures, row_labels=list(row_labels), column_labels=list(column_labels), title=title)
        sheet.save(self.model / name)


def main(_: list[str]) -> None:
    model = Path(_MODEL.value)
    size = Img2ImgPipeline.from_pretrained(model).native_size
    teacher = Path(_TEACHER.value) if _TEACHER.value else None
    # The two have the same VAE, text encoder and CLIP: these are measured once.
    parts = PARTS if teacher is None else [part for part in PARTS if part not in ("vae", "clip")]
    judge, clip = PictureJudge(Path(_JUDGE.value)), (teacher or model) / "clip"
    evaluation = Evaluation(model, load_emoji(_DATA.value, size), judge, clip)
    result = {"num_concepts": _CONCEPTS.value, "steps": _STEPS.value, "guidance_scale": _SCALE.value}
    for name in parts:
        result[name] = getattr(evaluation, name)()
        print(name, json.dumps(result[name]))
    write_json(model / "evaluation.json", result)
    write_card(model, teacher)


if __name__ == "__main__":
    app.run(main)
