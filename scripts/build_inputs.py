"""Draws the inputs of the experiments: twelve emoji in 3d style, and as line drawings, held out from training.

  python scripts/build_inputs.py --output=experiments/inputs

Prompts ask for the same thing in another colour. The emoji set is built by scripts/build_emoji.py.
"""

import json
from pathlib import Path

from absl import app, flags
from PIL import Image

from img2img_jax.data.captions import clean_name, split_colour
from img2img_jax.data.emoji import LINE_DRAWING, EmojiSet

_DATA = flags.DEFINE_string("data", None, "Folder of the emoji set; default: the user cache.")
_OUTPUT = flags.DEFINE_string("output", "experiments/inputs", "Folder for pictures/ and line_drawings/.")
SIDE = 64
STYLE = "3d style"
PACKAGES = {STYLE: "@iconify-json/fluent-emoji", LINE_DRAWING: "@iconify-json/fluent-emoji-flat"}
NEW_COLOURS = {
    "peach": "green",
    "telephone": "blue",
    "anchor": "red",
    "horse": "purple",
    "frog": "blue",
    "fire extinguisher": "green",
    "high-heeled shoe": "blue",
    "taxi": "red",
    "brick": "blue",
    "ox": "red",
    "leafy green": "purple",
    "small blue diamond": "yellow",
}


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    emoji, output = EmojiSet.load(_DATA.value), Path(_OUTPUT.value)
    write(emoji, STYLE, output / "pictures")
    write(emoji, LINE_DRAWING, output / "line_drawings")


def write(emoji: EmojiSet, style: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {
        record.name: (emoji.images[place], record)
        for place, record in enumerate(emoji.records)
        if record.style == style and record.source == PACKAGES[style] and record.name in NEW_COLOURS
    }
    lines = []
    for name, colour in NEW_COLOURS.items():
        pixels, record = chosen[name]
        thing = split_colour(clean_name(name))[1]
        file = f"{thing.replace(' ', '_')}.png"
        Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(folder / file, optimize=True)
        # The line drawings are asked to become what the pictures are, in colour.
        source = f"{thing}, {style}" if style == LINE_DRAWING else f"{record.colour} {thing}, {style}"
        lines.append({"file_name": file, "prompt": f"{colour} {thing}, {STYLE}", "source_prompt": source})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
