"""Byte-pair tokenizers in CLIP's format: training one, and reading one without transformers."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

START, END = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"
_WORD = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class ClipTokenizer:
    """A tokenizer read from `vocab.json` and `merges.txt`; the ids equal transformers' CLIPTokenizer's.

    Args:
        vocab: token -> id.
        merges: pairs of tokens, the earliest learnt first.
        max_length: tokens per text, start and end included.
        pad: token that fills short texts.
    """

    def __init__(self, vocab: dict[str, int], merges: Sequence[tuple[str, str]], max_length: int, pad: str = END):
        missing = [token for token in (START, END, pad) if token not in vocab]
        if missing:
            raise ValueError(f"the vocabulary lacks {', '.join(missing)}; is this a CLIP tokenizer?")
        model = models.BPE(vocab=vocab, merges=list(merges), end_of_word_suffix=END_OF_WORD, unk_token=END)
        self._tokenizer = _assembled(model)
        self._start, self._end, self._pad = vocab[START], vocab[END], vocab[pad]
        self.max_length = max_length
        self.vocab_size = len(vocab)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "ClipTokenizer":
        """Reads `vocab.json`, `merges.txt` and, for length and padding, `tokenizer_config.json`.

        Raises:
            FileNotFoundError: one of the first two is missing.
        """
        folder = Path(folder)
        for name in ("vocab.json", "merges.txt"):
            if not (folder / name).exists():
                raise FileNotFoundError(f"{folder} holds no {name}: a CLIP tokenizer needs vocab.json and merges.txt")
        vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
        merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
        settings_path = folder / "tokenizer_config.json"
        settings = json.loads(settings_path.read_text(encoding="utf-8")) if settings_path.exists() else {}
        pad = settings.get("pad_token", END)
        pad = pad["content"] if isinstance(pad, dict) else pad
        return cls(vocab, merges, min(int(settings.get("model_max_length", 77)), 77), pad)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Ids, int32 [B, max_length]: start, the text (cut if too long), end, padding."""
        ids = np.full((len(texts), self.max_length), self._pad, np.int32)
        for row, encoding in zip(ids, self._tokenizer.encode_batch(list(texts)), strict=True):
            body = encoding.ids[: self.max_length - 2]
            row[: len(body) + 2] = [self._start, *body, self._end]
        return ids

    def tokens(self, text: str) -> list[str]:
        """The pieces that a text is cut into, without start and end."""
        return self._tokenizer.encode(text).tokens


def train(
    texts: Iterable[str], folder: str | os.PathLike, *, vocab_size: int = 4000, max_length: int = 24
) -> ClipTokenizer:
    """Learns merges from `texts` and writes a tokenizer that transformers and diffusers load as CLIPTokenizer.

    The vocabulary is laid out as CLIP's: 256 bytes, 256 bytes that end a word, merges, start and end. So any text
    has ids. Fewer than `vocab_size` entries result if the texts hold fewer merges.

    Raises:
        ValueError: `vocab_size` leaves no room for merges.
    """
    alphabet = _byte_letters()
    room = vocab_size - 2 * len(alphabet) - 2
    if room < 1:
        raise ValueError(f"vocab_size must exceed {vocab_size - room}, got {vocab_size}")
    merges = _learn_merges(texts, alphabet, vocab_size)[:room]
    tokens = [*alphabet, *(letter + END_OF_WORD for letter in alphabet), *map("".join, merges), START, END]
    vocab = {token: index for index, token in enumerate(tokens)}
    _save(Path(folder), vocab, merges, max_length)
    return ClipTokenizer(vocab, merges, max_length)


def _assembled(model: models.BPE) -> Tokenizer:
    """CLIP's text cleaning and word splitting (Radford et al. 2021, arXiv:2103.00020) around a BPE model."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _byte_letters() -> list[str]:
    """The printable letter for each byte 0 to 255, as GPT-2 and CLIP write them, printable bytes first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]


def _learn_merges(texts: Iterable[str], alphabet: list[str], vocab_size: int) -> list[tuple[str, str]]:
    tokenizer = _assembled(models.BPE(end_of_word_suffix=END_OF_WORD))
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=alphabet,
        end_of_word_suffix=END_OF_WORD,
        # Declared beforehand, word-final letters get their ids in this order; else it is the order of a hash table,
        # which breaks ties between merges differently in every run.
        special_tokens=[letter + END_OF_WORD for letter in alphabet],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]


def _save(folder: Path, vocab: dict[str, int], merges: list[tuple[str, str]], max_length: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": max_length,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
        **special,
    }
    lines = ["#version: 0.2", *map(" ".join, merges), ""]
    _write_json(folder / "vocab.json", vocab)
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    _write_json(folder / "tokenizer_config.json", settings, indent=2)
    _write_json(folder / "special_tokens_map.json", special, indent=2)


def _write_json(path: Path, value: dict, indent: int | None = None) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")
