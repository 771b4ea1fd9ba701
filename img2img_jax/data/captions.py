"""Captions of emoji pictures: clean names, colour words first, the style word last."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np

from img2img_jax.data.colours import PALETTE
from img2img_jax.data.emoji import LINE_DRAWING, STYLES, EmojiRecord

STYLE_RATE = 0.85
COLOUR_RATE = 0.5
KEYWORD_RATE = 0.2
PREFIX_RATE = 0.1
PREFIXES = ("a picture of", "a drawing of", "an icon of")

_COMMON_NAMES = {
    "automobile": "car",
    "oncoming automobile": "oncoming car",
    "sport utility vehicle": "jeep",
    "ear of corn": "corn",
    "hot beverage": "cup of coffee",
    "teacup without handle": "cup of tea",
    "soft ice cream": "ice cream cone",
    "ice cream": "bowl of ice cream",
    "wrapped gift": "gift",
    "lady beetle": "ladybug",
    "honeybee": "bee",
    "spouting whale": "whale blowing water",
    "deciduous tree": "tree",
    "evergreen tree": "fir tree",
    "four leaf clover": "clover",
    "locked": "padlock",
    "unlocked": "open padlock",
    "jack-o-lantern": "halloween pumpkin",
    "kitchen knife": "knife",
    "glass of milk": "milk",
    "cooked rice": "bowl of rice",
    "t-rex": "dinosaur",
    "sauropod": "long neck dinosaur",
    "pool 8 ball": "billiard ball",
    "delivery truck": "truck",
    "floppy disk": "diskette",
    "spiral shell": "seashell",
    "collision": "explosion",
    "hundred points": "hundred",
    "eight-spoked asterisk": "asterisk",
    "hourglass done": "hourglass",
    "first quarter moon": "half moon",
    "person beard": "bearded person",
    "zzz": "sleeping sign",
}
# A colour word in these names is no colour, or not one that a recoloured copy could do without.
_KEEP_COLOUR = re.compile(r"\bhair\b|\bleafy green\b")
_COLOUR = re.compile(rf"\b(light )?({'|'.join(PALETTE)})\b")
_FILLER_WORDS = frozenset(("of", "the", "and", "with", "a"))


def clean_name(name: str) -> str:
    """Unicode's name in lower-case ASCII without punctuation other than hyphens and apostrophes.

    Words that nobody would type are replaced by common ones: "automobile" becomes "car".
    """
    plain = unicodedata.normalize("NFKD", name.replace("’", "'")).encode("ascii", "ignore").decode().lower()
    plain = " ".join(re.sub(r"[^a-z0-9'\- ]", " ", plain).split())
    return _COMMON_NAMES.get(plain, plain)


def split_colour(name: str) -> tuple[str | None, str]:
    """A clean name as its colour words and the rest: "large blue diamond" -> ("blue", "large diamond")."""
    found = _COLOUR.search(name)
    if found is None or _KEEP_COLOUR.search(name):
        return None, name
    return found.group(), " ".join((name[: found.start()] + name[found.end() :]).split())


def canonical(record: EmojiRecord, colour: str | None = None) -> str:
    """The plain caption to evaluate with: colour if the name has one or `colour` is given, name, style word.

    Pictures in the style kept for testing get no style word, and line drawings no colour.
    """
    named, thing = split_colour(clean_name(record.name))
    if record.style == LINE_DRAWING:
        named = None
    style = record.style if record.style in STYLES else None
    return _joined(colour or named, thing, None, style)


def caption(
    record: EmojiRecord, rng: np.random.Generator, colour: str | None = None, style_rate: float = STYLE_RATE
) -> str:
    """A caption to train with, drawn at random: "red apple, flat style", "apple, fruit, 3d style", ...

    85 % have the style word, half of the pictures with a clear colour get its word, 20 % a keyword,
    10 % begin with "a picture of" or the like.

    Args:
        rng: drawn from the same number of times whatever the record.
        colour: the colour word of a recoloured copy: always named, in place of the name's own.
        style_rate: how often the style word is there.
    """
    draws = rng.random(6)
    named, thing = split_colour(clean_name(record.name))
    if record.style == LINE_DRAWING:
        named = None
    elif named is None and draws[0] < COLOUR_RATE and record.group != "People & Body":
        named = record.colour
    keyword = None
    words = keywords(record)
    if words and draws[1] < KEYWORD_RATE:
        keyword = words[int(draws[2] * len(words))]
    style = record.style if record.style in STYLES and draws[3] < style_rate else None
    text = _joined(colour or named, thing, keyword, style)
    if draws[4] < PREFIX_RATE:
        text = f"{PREFIXES[int(draws[5] * len(PREFIXES))]} {text}"
    return text


def _joined(colour: str | None, thing: str, keyword: str | None, style: str | None) -> str:
    subject = f"{colour} {thing}" if colour else thing
    return ", ".join(part for part in (subject, keyword, style) if part)


def keywords(record: EmojiRecord) -> list[str]:
    """The record's keywords that are words and say more than its name does, without colours."""
    seen = set(clean_name(record.name).split()) | _FILLER_WORDS | set(PALETTE)
    found = []
    for keyword in record.keywords:
        word = keyword.replace("_", " ").lower()
        if re.fullmatch(r"[a-z]{3,}( [a-z]+){0,2}", word) and word not in found and not seen & set(word.split()):
            found.append(word)
    return found


def corpus(records: Iterable[EmojiRecord]) -> Iterator[str]:
    """The texts to train a tokenizer on: every concept's name and keywords, colours, styles and prefixes.

    The words that most prompts share come often, so that each of them gets a token of its own.
    """
    done = set()
    for record in records:
        if record.concept not in done:
            done.add(record.concept)
            yield from [clean_name(record.name)] * 8
            yield from keywords(record)
    for text in (*PALETTE, *STYLES, *PREFIXES, "light", "dark", "sketch", "photo"):
        yield from [text] * 200
