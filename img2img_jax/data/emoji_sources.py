"""The npm packages that the emoji data set is built from, pinned by version and content, and how to read them."""

import hashlib
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VARIATION_SELECTOR = 0xFE0F


@dataclass(frozen=True, kw_only=True)
class Package:
    """One pinned npm package: `name@version`, the sha256 of its tarball, and the licence of its contents."""

    name: str
    version: str
    sha256: str
    licence: str
    attribution: str

    @property
    def tarball(self) -> str:
        """The file name that `npm pack` gives the tarball."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


PACKAGES = {
    "flat": Package(
        name="@iconify-json/fluent-emoji-flat",
        version="1.2.6",
        sha256="7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        licence="MIT",
        attribution="Fluent Emoji, Microsoft Corporation",
    ),
    "3d": Package(
        name="@iconify-json/fluent-emoji",
        version="1.2.7",
        sha256="8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
        licence="MIT",
        attribution="Fluent Emoji, Microsoft Corporation",
    ),
    "shaded": Package(
        name="@iconify-json/noto",
        version="1.2.9",
        sha256="3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        licence="Apache-2.0",
        attribution="Noto Emoji, Google Inc.",
    ),
    "cartoon": Package(
        name="@iconify-json/twemoji",
        version="1.2.5",
        sha256="19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        licence="CC-BY-4.0",
        attribution="Twemoji, Twitter, Inc. and other contributors",
    ),
    "openmoji": Package(
        name="@iconify-json/openmoji",
        version="1.2.29",
        sha256="03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
        licence="CC-BY-SA-4.0",
        attribution="OpenMoji, the open-source emoji and icon project",
    ),
    "names": Package(
        name="unicode-emoji-json",
        version="0.9.0",
        sha256="ae7efacb55533385bf8767d613dbd36c71226669759d95919a6e9059f5e4c401",
        licence="MIT",
        attribution="unicode-emoji-json, Mu-An Chiou",
    ),
    "keywords": Package(
        name="emojilib",
        version="4.0.3",
        sha256="7f9a6b43cff31d18985b7d65d11faba5bd971cbcc60020cf6d09322fbaaaf303",
        licence="MIT",
        attribution="emojilib, Mu-An Chiou",
    ),
}


def fetch(package: Package, folder: Path) -> Path:
    """The package's tarball in `folder`, downloaded with `npm pack` unless it is there already.

    Raises:
        RuntimeError: npm is missing or fails, naming the package and the ways out.
        ValueError: the tarball's sha256 differs from the pinned one.
    """
    path = folder / package.tarball
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _npm_pack(package, folder)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise ValueError(
            f"{path}: sha256 is {found}, but {package.sha256} is pinned for {package.name}@{package.version}; "
            "delete the file to download it again"
        )
    return path


def _npm_pack(package: Package, folder: Path) -> None:
    spec = f"{package.name}@{package.version}"
    remedy = f"install npm and go online, or put {package.tarball} into a folder and pass it as tarballs"
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError(f"npm, which downloads {spec}, was not found: {remedy}")
    command = [npm, "pack", spec, "--pack-destination", str(folder), "--ignore-scripts"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0 or not (folder / package.tarball).exists():
        raise RuntimeError(f"`npm pack {spec}` failed ({run.stderr.strip()[-300:]}): {remedy}")


def read_json(tarball: Path, member: str) -> dict | list:
    """The JSON file `member` of an npm tarball.

    Raises:
        ValueError: the tarball has no such file.
    """
    with tarfile.open(tarball) as archive:
        try:
            stream = archive.extractfile(f"package/{member}")
        except KeyError:
            raise ValueError(f"{tarball} holds no file {member}; is it the pinned version?") from None
        return json.load(stream)


def codepoints(emoji: str) -> str:
    """The id of a concept: its Unicode code points in hex, joined by "-", without variation selectors."""
    return "-".join(f"{ord(character):04x}" for character in emoji if ord(character) != VARIATION_SELECTOR)


@dataclass(frozen=True, kw_only=True)
class Icon:
    """The body of one SVG picture and its view box (x, y, width, height)."""

    body: str
    view_box: tuple[float, float, float, float]


class IconSet:
    """The icons of one package in iconify's JSON format, looked up by code points.

    Args:
        icons: contents of `icons.json`.
        names: code points -> icon name, contents of `chars.json`.
    """

    def __init__(self, icons: Mapping, names: Mapping[str, str]):
        self._icons = icons
        self._names = names

    def __contains__(self, concept: str) -> bool:
        name = self._names.get(concept)
        return name in self._icons["icons"] or name in self._icons.get("aliases", {})

    def __getitem__(self, concept: str) -> Icon:
        return self._resolve(self._names[concept])

    def _resolve(self, name: str) -> Icon:
        if name in self._icons["icons"]:
            entry = self._icons["icons"][name]
            sizes = [
                entry.get(key, self._icons.get(key, 0 if key in ("left", "top") else 16))
                for key in ("left", "top", "width", "height")
            ]
            return Icon(body=entry["body"], view_box=tuple(map(float, sizes)))
        alias = self._icons["aliases"][name]
        return _transformed(self._resolve(alias["parent"]), alias)


def _transformed(icon: Icon, alias: Mapping) -> Icon:
    """`icon` turned and flipped as an iconify alias asks."""
    left, top, width, height = icon.view_box
    middle_x, middle_y = left + width / 2, top + height / 2
    steps = []
    if turns := alias.get("rotate", 0):
        steps.append(f"rotate({90 * turns} {middle_x} {middle_y})")
    if alias.get("hFlip") or alias.get("vFlip"):
        x, y = (-1 if alias.get("hFlip") else 1), (-1 if alias.get("vFlip") else 1)
        steps.append(f"translate({middle_x} {middle_y}) scale({x} {y}) translate({-middle_x} {-middle_y})")
    if not steps:
        return icon
    return Icon(body=f'<g transform="{" ".join(steps)}">{icon.body}</g>', view_box=icon.view_box)


@dataclass(frozen=True, kw_only=True)
class Concept:
    """One thing that the data set shows.

    id: code points; name: Unicode's short name; keywords: further words; group: Unicode's group;
    order: place in Unicode's own order.
    """

    id: str
    name: str
    keywords: tuple[str, ...]
    group: str
    order: int


def read_concepts(names: Path, keywords: Path) -> list[Concept]:
    """All emoji worth drawing, in Unicode's order, from the two tarballs of names and of keywords."""
    by_emoji = read_json(names, "data-by-emoji.json")
    words = read_json(keywords, "dist/emoji-en-US.json")
    concepts = []
    for order, emoji in enumerate(read_json(names, "data-ordered-emoji.json")):
        entry = by_emoji[emoji]
        concept = codepoints(emoji)
        if wanted(concept, entry["name"]):
            found = tuple(words.get(emoji, ()))
            concepts.append(Concept(id=concept, name=entry["name"], keywords=found, group=entry["group"], order=order))
    return concepts


_UNWANTED_NAME = re.compile(
    r"^keycap|o.clock$|.thirty$|^flag (?!in hole)|^family|^kiss( |$)(?!mark)|^couple with heart|skin tone"
)
_GENDER_SUFFIX = re.compile(r"-200d-264[02]$|-200d-264[02]-")
_GENDERED_START = re.compile(r"^1f46[89]-200d-(?!1f9b[0-3])")


def wanted(concept: str, name: str) -> bool:
    """Whether a concept is drawn: no flags of places, keycaps, clock faces, skin tones, or gendered doubles.

    A gendered double is a sequence that only adds man or woman to an emoji that also exists without.
    """
    if _UNWANTED_NAME.search(name):
        return False
    return not (_GENDER_SUFFIX.search(concept) or _GENDERED_START.search(concept))
