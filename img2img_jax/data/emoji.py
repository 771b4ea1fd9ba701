"""The emoji data set: pictures of about 1,400 concepts in five styles, built from npm packages and cached."""

import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from img2img_jax.data import emoji_sources
from img2img_jax.data.colours import HUES, dominant
from img2img_jax.data.emoji_sources import PACKAGES, Concept, Icon, IconSet
from img2img_jax.data.familiarity import concept_ranks, subgroups
from img2img_jax.data.line_drawing import line_drawing
from img2img_jax.data.svg import fitted, on_white, rasterise
from img2img_jax.file_digest import file_sha256
from img2img_jax.user_cache import user_cache

FORMAT = 1
"""Raised whenever the same packages give other pictures or records, so that old caches are built again."""
LINE_DRAWING = "line drawing"
TEST_STYLE = "openmoji"
STYLES = ("flat style", "3d style", "shaded style", "cartoon style", LINE_DRAWING)
"""The styles to train on. `TEST_STYLE` is kept for testing alone: its licence asks to share alike."""
HELD_OUT_CONCEPTS = 0.05
HELD_OUT_STYLES = 0.05


@dataclass(frozen=True, kw_only=True)
class _Series:
    """One run through the concepts: which package is drawn how, under which style word."""

    style: str
    package: str
    supersampling: int = 1
    outlined: bool = False


_SERIES = (
    _Series(style="flat style", package="flat"),
    # Many gradients and filters are coarse at 128 pixels.
    _Series(style="3d style", package="3d", supersampling=3),
    _Series(style="shaded style", package="shaded"),
    _Series(style="cartoon style", package="cartoon"),
    _Series(style=LINE_DRAWING, package="flat", outlined=True, supersampling=2),
    _Series(style=LINE_DRAWING, package="cartoon", outlined=True, supersampling=2),
    _Series(style=TEST_STYLE, package="openmoji"),
)


@dataclass(frozen=True, kw_only=True)
class EmojiRecord:
    """What is known about one picture.

    concept: code points in hex; name, group: Unicode's; keywords: emojilib's; subgroup: as in emoji-test.txt;
    concept_rank: place in the order of familiarity; style: one of `STYLES` or `TEST_STYLE`; source: npm package;
    colour: dominant colour word or None; colour_share, coloured, hue, concentration: see `colours.Dominant`
    (None and 0 for line drawings); split: "train", "unseen_concept", "unseen_style" or "unseen_package".
    """

    concept: str
    name: str
    keywords: tuple[str, ...]
    group: str
    subgroup: str
    concept_rank: int
    style: str
    source: str
    colour: str | None
    colour_share: float
    coloured: float
    hue: float | None
    concentration: float
    split: str


@dataclass(frozen=True, kw_only=True)
class EmojiSet:
    """The pictures and their records, in the same order.

    images: uint8 [N, H, W, 3] on white, mapped from disk; records: N of them.
    """

    images: np.ndarray
    records: tuple[EmojiRecord, ...]

    def __len__(self) -> int:
        return len(self.records)

    def select(self, split: str | None = None, style: str | None = None, num_concepts: int | None = None) -> np.ndarray:
        """Indices, int64, of the pictures of one split and style, of the `num_concepts` most familiar concepts."""
        chosen = [
            index
            for index, record in enumerate(self.records)
            if (split is None or record.split == split)
            and (style is None or record.style == style)
            and (num_concepts is None or record.concept_rank < num_concepts)
        ]
        return np.array(chosen, np.int64)

    @classmethod
    def load(cls, cache_dir: str | os.PathLike | None = None) -> "EmojiSet":
        """The set built into `cache_dir` (default: `default_cache_dir()`).

        Raises:
            FileNotFoundError: nothing was built there.
        """
        folder = Path(cache_dir) if cache_dir is not None else default_cache_dir()
        if not (folder / "manifest.json").exists():
            raise FileNotFoundError(
                f"{folder} holds no emoji data set; build it with scripts/build_emoji.py --cache_dir={folder}"
            )
        lines = (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()
        records = tuple(_record(json.loads(line)) for line in lines)
        return cls(images=np.load(folder / "images.npy", mmap_mode="r"), records=records)

    @classmethod
    def build(
        cls,
        cache_dir: str | os.PathLike | None = None,
        *,
        resolution: int = 128,
        tarballs: str | os.PathLike | None = None,
        workers: int = 2,
        progress: Callable[[Iterator, int], Iterator] | None = None,
    ) -> "EmojiSet":
        """Renders the set into `cache_dir` unless it is there already, and loads it.

        The folder appears complete or not at all; the same packages give the same bytes, whatever `workers` is.

        Args:
            resolution: side of the pictures in pixels.
            tarballs: folder with the packages' tarballs; those missing are downloaded into it.
                Default: a folder `packages` beside the data set.
            workers: processes that render.
            progress: wraps the iterator over pictures, given their number, for a progress bar.

        Raises:
            RuntimeError, ValueError: as `emoji_sources.fetch`.
        """
        folder = Path(cache_dir) if cache_dir is not None else default_cache_dir()
        manifest = _manifest(resolution)
        if not _matches(folder, manifest):
            store = Path(tarballs) if tarballs is not None else folder.parent / "packages"
            paths = {key: emoji_sources.fetch(package, store) for key, package in PACKAGES.items()}
            jobs = _jobs(paths, resolution)
            _write(folder, manifest, jobs, workers, progress or (lambda items, _: items))
        return cls.load(folder)


def default_cache_dir() -> Path:
    """`emoji` in the package's folder of the user's cache."""
    return user_cache() / "emoji"


def colourable(record: EmojiRecord) -> bool:
    """Whether the picture has one dominant saturated hue, so that it can be recoloured and named by the new colour.

    People are left out: their skin would change with their clothes.
    """
    return (
        record.style != LINE_DRAWING
        and record.group != "People & Body"
        and record.colour in HUES
        and record.colour_share >= 0.3
        and record.concentration >= 0.6
    )


def split_of(concept: str, style: str) -> str:
    """The split of a picture, decided by a hash of the concept alone: stable across versions and machines.

    5 % of the concepts are held out in all styles ("unseen_concept"); for another 5 % one style is held out
    ("unseen_style"). Pictures of the test style are "unseen_package" unless their concept is held out.
    """
    draw = _hash_fraction(f"split:{concept}")
    if draw < HELD_OUT_CONCEPTS:
        return "unseen_concept"
    if style == TEST_STYLE:
        return "unseen_package"
    held_out_style = STYLES[int(_hash_fraction(f"style:{concept}") * len(STYLES))]
    if draw < HELD_OUT_CONCEPTS + HELD_OUT_STYLES and style == held_out_style:
        return "unseen_style"
    return "train"


def _hash_fraction(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _record(fields: dict) -> EmojiRecord:
    return EmojiRecord(**{**fields, "keywords": tuple(fields["keywords"])})


def _manifest(resolution: int) -> dict:
    return {
        "format": FORMAT,
        "resolution": resolution,
        "packages": [asdict(package) for package in PACKAGES.values()],
    }


def _matches(folder: Path, manifest: dict) -> bool:
    path = folder / "manifest.json"
    if not path.exists():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))
    return all(found.get(key) == value for key, value in manifest.items())


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One picture to draw."""

    concept: Concept
    subgroup: str
    rank: int
    series: _Series
    icon: Icon
    resolution: int


def _jobs(paths: dict[str, Path], resolution: int) -> list[_Job]:
    concepts = emoji_sources.read_concepts(paths["names"], paths["keywords"])
    groups, ranks = subgroups(concepts), concept_ranks(concepts)
    icons = {series.package: _icon_set(paths, series.package) for series in _SERIES}
    return [
        _Job(
            concept=concept,
            subgroup=groups[concept.id],
            rank=ranks[concept.id],
            series=series,
            icon=icons[series.package][concept.id],
            resolution=resolution,
        )
        for series in _SERIES
        for concept in concepts
        if concept.id in icons[series.package]
    ]


def _icon_set(paths: dict[str, Path], package: str) -> IconSet:
    # The 3d package's own table of characters is empty; its icons bear the flat package's names.
    names = paths["flat" if package == "3d" else package]
    return IconSet(emoji_sources.read_json(paths[package], "icons.json"), emoji_sources.read_json(names, "chars.json"))


def _draw(job: _Job) -> tuple[np.ndarray, EmojiRecord]:
    series, concept = job.series, job.concept
    icon = line_drawing(job.icon) if series.outlined else fitted(job.icon)
    rgba = rasterise(icon, job.resolution, series.supersampling)
    visible = rgba[..., 3] > 127
    colour = dominant(rgba[..., :3], visible & (not series.outlined))
    record = EmojiRecord(
        concept=concept.id,
        name=concept.name,
        keywords=concept.keywords,
        group=concept.group,
        subgroup=job.subgroup,
        concept_rank=job.rank,
        style=series.style,
        source=PACKAGES[series.package].name,
        colour=colour.word,
        colour_share=colour.share,
        coloured=colour.coloured,
        hue=colour.hue,
        concentration=colour.concentration,
        split=split_of(concept.id, series.style),
    )
    return on_white(rgba), record


def _drawn(jobs: list[_Job], workers: int) -> Iterator[tuple[np.ndarray, EmojiRecord]]:
    if workers <= 1:
        yield from map(_draw, jobs)
        return
    # Spawned, not forked: the calling process may hold JAX's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_silence_renderer) as pool:
        yield from pool.map(_draw, jobs, chunksize=32)


def _silence_renderer() -> None:
    """Drops what the renderer prints on panics that `svg.rasterise` recovers from; exceptions still arrive."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _write(folder: Path, manifest: dict, jobs: list[_Job], workers: int, progress: Callable) -> None:
    """Writes everything to a temporary folder beside `folder` and renames it, so that no half-built set is seen."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        side = jobs[0].resolution
        images = np.lib.format.open_memmap(
            building / "images.npy", mode="w+", dtype=np.uint8, shape=(len(jobs), side, side, 3)
        )
        with open(building / "records.jsonl", "w", encoding="utf-8") as stream:
            for index, (image, record) in enumerate(progress(_drawn(jobs, workers), len(jobs))):
                images[index] = image
                stream.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")
        images.flush()
        written = {
            **manifest,
            "pictures": len(jobs),
            "renderer": f"resvg_py {importlib.metadata.version('resvg_py')}",
            "files": _digests(building),
        }
        (building / "manifest.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
        _replace(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _digests(folder: Path) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in ("images.npy", "records.jsonl")}


def _replace(building: Path, folder: Path) -> None:
    building.chmod(0o755)
    if folder.exists():
        old = building.with_name(f"{building.name}-old")
        folder.rename(old)
        building.rename(folder)
        shutil.rmtree(old)
    else:
        building.rename(folder)
