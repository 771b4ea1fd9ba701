"""The model card, written from ``evaluation.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from img2img_jax.checkpoints import read_json

TEMPLATE = """# The embedded model

A small text-conditioned latent diffusion model of emoji art, trained from nothing by `experiments/train_emoji`, in the
diffusers folder layout: this package and PyTorch diffusers' `StableDiffusionImg2ImgPipeline` load the same files.
It draws 64 px pictures of common things in five styles. It is made for trying the package out and for experiments
without a download; it is not a general picture model.

Prompts: `<colour> <thing>, <style>`, for example `green apple, 3d style`. Styles: flat style, 3d style, shaded style,
cartoon style, line drawing. Colours: red, orange, yellow, green, blue, purple, pink, brown, black, white, grey.

## Figures

Measured by `python experiments/train_emoji/evaluate.py` with {steps} steps at guidance scale {guidance_scale},
`strength_mode="continuous"`. The UNet was trained on {num_concepts} concepts.

| what | figure |
| --- | --- |
{rows}

Strength, over 12 held-out pictures redrawn in another style (PSNR and SSIM to the input, CLIP cosine to the prompt):

| strength | {strength} |
| --- |{dashes}
| PSNR, dB | {psnr} |
| SSIM | {ssim} |
| CLIP cosine | {clip_text} |
| CLIP cosine, as another thing | {replaced} |

![strengths](card_strengths.png)
![colour words](card_colours.png)
![style words](card_styles.png)
![line drawings coloured in](card_drawings.png)
![seen concepts](card_seen.png)
![concepts it was never shown](card_unseen.png)

## Limits

The sheets above are not selected. The UNet has seen about 378,000 samples, which is little, and it shows: it hears
colour words, fills line drawings, also those by another hand (though the outline of what it does not know dissolves,
and at 0.7 some of the paper shows through), and draws most of the things it was shown so that they can be named (an
apple, a penguin, a skull, a castle, a camel, an umbrella). Others come out as patches of their colours in about the
right places at strengths above about 0.8 and in text-to-image (a pig, a unicorn, an otter), and so do those it was
never shown. It hears style words too, but what comes out soft or plain looks like flat style to the judge, whatever was
asked for; cartoon style suffers most. CLIP and the judge, neither of which had a part in training the UNet, find
nothing of most concepts it was never shown, though more than chance would (5 of 100). A picture that already shows the
prompt's thing gains little in CLIP cosine by being redrawn in another style, and that up to 0.8; one that becomes
another thing gains up to 0.9. Useful strengths are 0.4 to 0.9. What is neither a thing nor a colour nor a style word
(counts, positions, actions) is not understood.

The noise schedule is made for latents of 16 x 16 (`trained_betas` in the scheduler's configuration). Stable Diffusion's
would leave too little of so small a picture above a strength of about 0.5. The same strength therefore means about what
it does with a large model, and the same timestep is less noise than with Stable Diffusion.

## Data and licences

Rendered at training time from these packages, none of whose files are in this folder: Fluent Emoji (Microsoft, MIT),
Noto Emoji (Google, Apache-2.0), Twemoji (Twitter and contributors, CC-BY 4.0), names and keywords from
unicode-emoji-json and emojilib (MIT). Five in a hundred concepts, and some styles of others, were held out.
The weights are released under the project's licence; the attributions above go with them.
"""

FEW_STEPS = """# The embedded model, for few steps

The [embedded model](../model/README.md), distilled to answer in 4 to 8 steps of the `lcm` sampler (latent consistency
distillation, [Luo et al.](https://arxiv.org/abs/2310.04378)). Guidance is told to the network, so that a step is one
evaluation and not two. Everything but the UNet is the same, and so are prompts, data, licences and limits.

```sh
img2img --model=emoji-lcm --steps=4 --guidance_scale=4 --height=64 --image=in.png --prompt="green apple, 3d style"
```

Measured by `experiments/train_emoji/evaluate.py` as the embedded model was, {steps} steps at guidance scale
{guidance_scale} beside its {teacher_steps}:

| what | {teacher_steps} steps | {steps} steps |
| --- | --- | --- |
{rows}

![strengths](card_strengths.png)
![colour words](card_colours.png)
![style words](card_styles.png)
![line drawings coloured in](card_drawings.png)
![seen concepts](card_seen.png)
"""

ROWS = {
    ("vae", "psnr_db"): "VAE, held-out concepts: PSNR {:.1f} dB",
    (
        "clip",
        "top1_of_256_unseen_style",
    ): "CLIP, held-out pictures of seen concepts (no drawings): right one of 256 {:.0%}",
    ("clip", "top1_of_256_unseen_concept"): "CLIP, concepts never seen: right one of 256 captions {:.0%}",
    ("colours", "obeyed"): "Colour words obeyed (grey disc, strength 0.9, 36 cases) {:.0%}",
    ("styles", "obeyed"): "Style words obeyed (strength 1, 100 cases), by the judge {:.0%}",
    (
        "styles",
        "changed",
    ): "one style word for another (400 cases): the picture is more in the new style than it was, to the judge {:.0%}",
    (
        "styles",
        "told_apart",
    ): "of five pictures of a thing, the one asked for in a style is the one most in it, to the judge {:.0%}",
    ("styles", "judge_on_real_pictures"): "the judge itself, styles of real pictures {:.0%}",
    ("styles", "judge_on_reconstructions"): "the judge itself, styles of the VAE's reconstructions of them {:.0%}",
    ("styles", "clip_cosine"): "CLIP cosine to the prompt at strength 1, the same 100 pictures {:.3f}",
    ("concepts", "seen_top5_of_100_clip"): "Strength 1, seen concepts: name in CLIP's top 5 of 100 {:.0%}",
    ("concepts", "seen_top5_of_100_judge"): "Strength 1, seen concepts: name in the judge's top 5 of 100 {:.0%}",
    ("concepts", "unseen_top5_of_100_clip"): "Strength 1, unseen concepts: name in CLIP's top 5 of 100 {:.0%}",
    ("concepts", "unseen_top5_of_100_judge"): "Strength 1, unseen concepts: name in the judge's top 5 of 100 {:.0%}",
    **{
        ("drawings", f"{group}_{name}_{strength}"): f"Line drawings {whose} at {strength}: {label}"
        for group, whose in (("seen", "of seen concepts, by another hand,"), ("unseen", "of unseen concepts"))
        for strength in ("0.7", "0.85")
        for name, label in (
            ("filled", "filled {:.0%}"),
            ("colour", "in the prompt's colour {:.0%}"),
            ("edge_f1", "edge F1 to the drawing {:.2f}"),
        )
    },
    (
        "strengths",
        "spearman_psnr",
    ): "Held-out pictures in another style, 0.1 to 1: Spearman of strength and PSNR {:.2f}",
    ("strengths", "spearman_clip_text"): "the same: Spearman of strength and CLIP cosine {:.2f}",
    ("replaced", "spearman_psnr"): "Held-out pictures as another thing: Spearman of strength and PSNR {:.2f}",
    ("replaced", "spearman_clip_text"): "the same, as another thing: Spearman of strength and CLIP cosine {:.2f}",
}


def write_card(model: Path, teacher: Path | None = None) -> None:
    """Writes ``README.md`` beside ``evaluation.json``; of a few-step model, with its teacher's figures."""
    result = read_json(model / "evaluation.json")
    own = figures(result)
    told = {name: result[name] for name in ("steps", "guidance_scale", "num_concepts")}
    if teacher is not None:
        before = read_json(teacher / "evaluation.json")
        compared = {label: (figures(before)[label], value) for label, value in own.items()}
        rows = "\n".join(f"| {label} | {old} | {new} |" for label, (old, new) in compared.items())
        card = FEW_STEPS.format(rows=rows, teacher_steps=before["steps"], **told)
    else:
        curve = result["strengths"]
        digits = {"strength": 1, "psnr": 1, "ssim": 2, "clip_text": 2}
        lines = {name: _cells(curve[name], d) for name, d in digits.items()}
        lines["replaced"] = _cells(result["replaced"]["clip_text"], digits["clip_text"])
        rows = "\n".join(f"| {label} | {value} |" for label, value in own.items())
        card = TEMPLATE.format(rows=rows, dashes=" --- |" * len(curve["strength"]), **told, **lines)
    (model / "README.md").write_text(card, encoding="utf-8")


def _cells(values: Sequence[float], digits: int) -> str:
    return " | ".join(f"{value:.{digits}f}" for value in values)


def figures(result: dict) -> dict[str, str]:
    """What was measured, by what it is called in the card."""
    found = {}
    for (part, name), label in ROWS.items():
        if name in result.get(part, ()):
            text, brace, form = label.partition("{")
            found[text.strip()] = (brace + form).format(result[part][name])
    found["CLIP cosine to the prompt at strength 1, 12 held-out pictures"] = (
        f"{result['strengths']['clip_text'][-1]:.3f}"
    )
    return found
