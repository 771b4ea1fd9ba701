"""Builds the emoji data set, and the tokenizer for its captions.

python scripts/build_emoji.py [--cache_dir=...] [--resolution=128] [--tarballs=...] [--tokenizer_dir=...]
"""

from collections import Counter

from absl import app, flags
from tqdm import tqdm

from img2img_jax.data.captions import corpus
from img2img_jax.data.emoji import EmojiSet
from img2img_jax.data.tokenizer import train

FLAGS = flags.FLAGS
flags.DEFINE_string("cache_dir", None, "Folder for the data set; default: the user's cache folder.")
flags.DEFINE_integer("resolution", 128, "Side of the pictures in pixels.", lower_bound=16)
flags.DEFINE_string("tarballs", None, "Folder of npm tarballs; those missing are downloaded into it.")
flags.DEFINE_string("tokenizer_dir", None, "If given, trains a tokenizer on the captions and writes it there.")
flags.DEFINE_integer("workers", 2, "Processes that render.", lower_bound=1)


def main(argv: list[str]) -> None:
    """Builds or finds the set and prints what it holds."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    emoji = EmojiSet.build(
        FLAGS.cache_dir,
        resolution=FLAGS.resolution,
        tarballs=FLAGS.tarballs,
        workers=FLAGS.workers,
        progress=lambda items, total: tqdm(items, total=total, unit="picture"),
    )
    if FLAGS.tokenizer_dir:
        tokenizer = train(corpus(emoji.records), FLAGS.tokenizer_dir)
        print(f"tokenizer of {tokenizer.vocab_size} entries in {FLAGS.tokenizer_dir}")
    print(f"{len(emoji)} pictures, {emoji.images.shape[1:]}")
    for field in ("style", "split", "colour"):
        print(f"{field}:", dict(Counter(getattr(record, field) for record in emoji.records).most_common()))


if __name__ == "__main__":
    app.run(main)
