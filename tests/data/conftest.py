"""Tiny npm packages in the format of the real ones: three things, a flag, and a gendered double."""

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from img2img_jax.data.emoji import EmojiRecord
from img2img_jax.data.emoji_sources import PACKAGES, Package

APPLE, HEART, HAND = "1f34e", "2764", "1f449"
_NAMES = {
    "🍎": ("red apple", "Food & Drink"),
    "❤️": ("red heart", "Smileys & Emotion"),
    "👉": ("backhand index pointing right", "People & Body"),
    "🇫🇷": ("flag France", "Flags"),
    "👨‍🚀": ("man astronaut", "People & Body"),
}
_RED_DISC = '<circle cx="16" cy="16" r="10" fill="#e02020"/><path d="M15 2h2v5h-2z" fill="#228833"/>'
_RED_SQUARE = '<path fill="#d02828" d="M6 6h20v20H6z"/>'
_HAND = '<path fill="#f0c030" d="M2 12h12v8H2z"/>'


def _icon_files() -> dict[str, object]:
    """`icons.json` and `chars.json` of one icon package; the hand is a mirrored alias."""
    bodies = {"red-apple": _RED_DISC, "red-heart": _RED_SQUARE, "pointing-left": _HAND}
    icons = {
        "icons": {name: {"body": body} for name, body in bodies.items()},
        "aliases": {"pointing-right": {"parent": "pointing-left", "hFlip": True}},
        "width": 32,
        "height": 32,
    }
    return {"icons.json": icons, "chars.json": {APPLE: "red-apple", HEART: "red-heart", HAND: "pointing-right"}}


def _write_packages(folder: Path) -> dict[str, Package]:
    """Writes a tarball for each of `PACKAGES` into `folder`; returns the packages pinned to these tarballs."""
    names = {emoji: {"name": name, "group": group} for emoji, (name, group) in _NAMES.items()}
    contents = {key: _icon_files() for key in PACKAGES}
    contents["3d"]["chars.json"] = {}
    contents["names"] = {"data-by-emoji.json": names, "data-ordered-emoji.json": list(_NAMES)}
    contents["keywords"] = {"dist/emoji-en-US.json": {"🍎": ["red_apple", "fruit", "health", ":)"]}}
    pinned = {}
    for key, package in PACKAGES.items():
        data = _tarball(contents[key])
        (folder / package.tarball).write_bytes(data)
        pinned[key] = replace(package, sha256=hashlib.sha256(data).hexdigest())
    return pinned


def _tarball(files: dict[str, object]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, value in files.items():
            data = json.dumps(value).encode()
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


@pytest.fixture
def packages(tmp_path, monkeypatch) -> Path:
    """A folder of tiny tarballs that stand in for the pinned packages."""
    folder = tmp_path / "tarballs"
    folder.mkdir()
    for key, package in _write_packages(folder).items():
        monkeypatch.setitem(PACKAGES, key, package)
    return folder


@pytest.fixture
def apple() -> EmojiRecord:
    """The record of a flat red apple."""
    return EmojiRecord(
        concept=APPLE,
        name="red apple",
        keywords=("red_apple", "fruit", "health", ":)"),
        group="Food & Drink",
        subgroup="food-fruit",
        concept_rank=0,
        style="flat style",
        source="@iconify-json/fluent-emoji-flat",
        colour="red",
        colour_share=0.9,
        coloured=0.95,
        hue=28.0,
        concentration=0.9,
        split="train",
    )
