"""What a family's UNet is told besides the noisy latents and the time.

Stable Diffusion 1.x and 2.x: the final states of one text encoder. SDXL: the last but one states of one or two
encoders side by side, the pooled state of the last of them, and sizes (see ``micro_conditioning``). The way is the
same: tokenise, encode, concatenate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Float

from img2img_jax import micro_conditioning, programs
from img2img_jax.arguments import finite
from img2img_jax.models import UNet2DConditionConfig
from img2img_jax.partition import whole
from img2img_jax.prompt_syntax import Token, emphasised
from img2img_jax.prompts import read_chunks, stack_chunks
from img2img_jax.types import AddedConditions

SIGNS = ("negative_", "")

Chunks: TypeAlias = list[list[Token]]
"""One prompt's tokens and weights, as many as an encoder reads at once in each."""


class Encoded(NamedTuple):
    """Prompts as encoders give them, or as a caller gives them in place of texts."""

    states: Float[np.ndarray, "B L d"]
    pooled: Float[np.ndarray, "B p"] | None


class Condition(NamedTuple):
    """What the denoising program takes: [B, 1, ...] of the prompts, or [B, 2, ...] of negative prompts and prompts."""

    text: Float[np.ndarray, "B 1|2 L d"]
    added: AddedConditions | None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TextEncoder:
    """One text encoder of a checkpoint.

    Attributes:
      graphdef, state: the network, split.
      tokenizer: of transformers.
      config: of the network.
      penultimate: the UNet reads states of the layer before the last.
      known: states and pooled states of the texts it has read, by text, chunks and layers left out; None to remember
        none beyond a batch.
    """

    graphdef: nnx.GraphDef
    state: nnx.State
    tokenizer: Any
    config: Any
    penultimate: bool
    known: dict[tuple[str, int, int], Sequence[np.ndarray]] | None = None

    @property
    def length(self) -> int:
        """Tokens of a chunk."""
        return self.config.max_position_embeddings

    @property
    def most_skipped(self) -> int:
        """The largest ``clip_skip``: the states before the first layer are left."""
        return self.config.num_hidden_layers - self.penultimate

    def tokenise(self, texts: Iterable[str], syntax: str) -> dict[str, Chunks]:
        """Chunks of every distinct text."""
        return {text: read_chunks(self.tokenizer, text, self.length, syntax) for text in dict.fromkeys(texts)}

    def encode(self, texts: Sequence[str], chunks: Mapping[str, Chunks], count: int, clip_skip: int) -> Encoded:
        """States and pooled states of texts, each distinct one read once.

        Args:
          chunks: of the texts.
          count: of chunks, to which all texts are filled up; of several the first one's pooled state counts, as in
            AUTOMATIC1111's web UI.
          clip_skip: layers to leave out.
        """
        known = {} if self.known is None else self.known
        unread = [text for text in dict.fromkeys(texts) if (text, count, clip_skip) not in known]
        if unread:
            rows = zip(*self._read(unread, len(texts), chunks, count, clip_skip), strict=True)
            known |= {(text, count, clip_skip): row for text, row in zip(unread, rows, strict=False)}
        return Encoded(*map(np.stack, zip(*(known[text, count, clip_skip] for text in texts), strict=True)))

    def _read(
        self, texts: list[str], size: int, chunks: Mapping[str, Chunks], count: int, clip_skip: int
    ) -> tuple[np.ndarray, np.ndarray]:
        # Padded to the batch's size, so that the number of distinct prompts is data as well.
        padded = texts + texts[:1] * (size - len(texts))
        ids, weights = stack_chunks(self.tokenizer, [chunks[text] for text in padded], count)
        states, pooled = programs.read_prompts(
            self.graphdef,
            whole(self.state),
            ids.reshape(-1, self.length),
            clip_skip=clip_skip,
            penultimate=self.penultimate,
        )
        states = emphasised(np.asarray(states, np.float32).reshape(*ids.shape, -1), weights)
        return states.reshape(size, count * self.length, -1), np.asarray(pooled, np.float32)[::count]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Conditioner:
    """Turns the arguments of a call into a ``Condition``.

    Attributes:
      encoders: in the order their states lie side by side; the last one's pooled states count.
      unet: the configuration of the UNet.
      requires_aesthetics_score: the UNet takes scores in place of target sizes (SDXL's refiner).
      force_zeros_for_empty_prompt: with SDXL, a negative prompt that is not given is zeros, not the empty text.
    """

    encoders: Sequence[TextEncoder]
    unet: UNet2DConditionConfig
    requires_aesthetics_score: bool = False
    force_zeros_for_empty_prompt: bool = True

    def __post_init__(self):
        width = sum(encoder.config.hidden_size for encoder in self.encoders)
        if self.unet.cross_attention_dim != width:
            raise ValueError(
                f"the UNet has cross_attention_dim={self.unet.cross_attention_dim}, but the text encoders' hidden_size "
                f"is {width} together; image-to-image needs them equal"
            )
        if not self.unet.takes_sizes:
            return
        numbers = micro_conditioning.count(self.requires_aesthetics_score)
        wanted = self._pooled_width + numbers * self.unet.addition_time_embed_dim
        if self.unet.projection_class_embeddings_input_dim != wanted:
            raise ValueError(
                "the UNet has projection_class_embeddings_input_dim="
                f"{self.unet.projection_class_embeddings_input_dim}, but a pooled text of {self._pooled_width} and "
                f"{numbers} numbers of {self.unet.addition_time_embed_dim} make {wanted}; is "
                f"requires_aesthetics_score={self.requires_aesthetics_score} right? (True for SDXL's refiner)"
            )

    @property
    def _pooled_width(self) -> int:
        return self.encoders[-1].config.projection_dim

    def columns(self, given: Mapping[str, Any]) -> dict[str, list]:
        """One entry per sample, or a list of one for all, of each thing the UNet is told.

        Args:
          given: the arguments of the pipeline's call by name: (negative_)prompt, (negative_)prompt_2,
            (negative_)prompt_embeds, (negative_)pooled_prompt_embeds, and micro-conditioning.

        Raises:
          ValueError: an argument this family has no use for, one of the wrong kind, or two that exclude each other.
        """
        columns = {}
        for sign in SIGNS:
            columns |= self._text_columns(sign, given)
        if self.unet.takes_sizes:
            return columns | micro_conditioning.columns(given, self.requires_aesthetics_score)
        for name in micro_conditioning.EVERY_NAME:
            if given.get(name) is not None:
                raise ValueError(
                    f"{name}={given[name]!r} is for SDXL; this checkpoint's UNet takes no sizes; leave it out"
                )
        return columns

    def _text_columns(self, sign: str, given: Mapping[str, Any]) -> dict[str, list]:
        name, second, pooled = f"{sign}prompt", f"{sign}prompt_2", f"{sign}pooled_prompt_embeds"
        states = given.get(f"{name}_embeds")
        if given.get(second) is not None and len(self.encoders) < 2:
            raise ValueError(
                f"{second}={given[second]!r} is given, but this checkpoint has one text encoder; leave it out"
            )
        if (given.get(pooled) is None) != (states is None) and self.unet.takes_sizes:
            raise ValueError(f"{name}_embeds and {pooled} of SDXL go together; give both, or the text instead")
        if given.get(pooled) is not None and not self.unet.takes_sizes:
            raise ValueError(f"{pooled} is given, but this checkpoint's UNet takes no pooled text; leave it out")
        zeros = sign and self.unet.takes_sizes and self.force_zeros_for_empty_prompt
        if zeros and all(given.get(key) is None for key in (name, second, f"{name}_embeds")):
            return {name: [None]}
        columns = {name: _texts(name, given.get(name), states, default="" if sign else None)}
        if states is not None:
            self._check_width(f"{name}_embeds", columns[name], self.unet.cross_attention_dim)
        if given.get(pooled) is not None:
            columns[pooled] = list(finite(pooled, given[pooled]))
            self._check_width(pooled, columns[pooled], self._pooled_width, axes=1)
        if given.get(second) is not None:
            if states is not None:
                raise ValueError(f"{second} and {name}_embeds are both given; give one of them")
            columns[second] = _texts(second, given[second], None)
        return columns

    def _check_width(self, name: str, rows: list[np.ndarray], width: int, axes: int = 2) -> None:
        for row in rows:
            if row.ndim != axes or row.shape[-1] != width:
                shape = "[B or 1, L, d]" if axes == 2 else "[B or 1, d]"
                raise ValueError(f"{name} holds rows of shape {row.shape}; give {shape} with d = {width}")

    def __call__(
        self,
        columns: Mapping[str, list],
        size: tuple[int, int],
        *,
        guided: bool,
        prompt_syntax: str = "plain",
        clip_skip: int = 0,
    ) -> Condition:
        """Encodes a batch.

        Args:
          columns: as ``columns`` gives them, B entries each.
          size: (height, width) of the pictures in pixels.
          guided: with negative prompts.
          prompt_syntax: how texts are read (see ``img2img_jax.prompts``).
          clip_skip: layers to leave out of every encoder, beyond the last one that SDXL leaves out anyway.

        Raises:
          ValueError: states of another shape for negative prompts than for prompts.
        """
        tokenised, count = self._tokenised(columns, SIGNS if guided else ("",), prompt_syntax)
        encoded = [self._encoded("", columns, tokenised, count, clip_skip)]
        if guided:
            # In diffusers clip_skip leaves the negative prompt alone, in the web UI it does not: the syntax says whose
            # way.
            skip = 0 if prompt_syntax == "plain" else clip_skip
            encoded.insert(0, self._negative(columns, encoded[0], tokenised, count, skip))
        text = np.stack([prompts.states for prompts in encoded], axis=1)
        if not self.unet.takes_sizes:
            return Condition(text, None)
        taken = {name: columns[name] for name in micro_conditioning.EVERY_NAME if name in columns}
        numbers = micro_conditioning.time_ids(taken, self.requires_aesthetics_score, size)
        pooled = np.stack([prompts.pooled for prompts in encoded], axis=1)
        return Condition(text, AddedConditions(text_embeds=pooled, time_ids=numbers[:, -len(encoded) :]))

    def remembering(self) -> Conditioner:
        """One that reads no text twice, however many batches it occurs in."""
        return dataclasses.replace(self, encoders=[dataclasses.replace(each, known={}) for each in self.encoders])

    def chunks(self, columns: Mapping[str, list], *, guided: bool, prompt_syntax: str) -> int:
        """How many chunks the texts of a batch fill; samples of one count go together without waste."""
        return self._tokenised(columns, SIGNS if guided else ("",), prompt_syntax)[1]

    def check_clip_skip(self, clip_skip: int) -> None:
        """Raises ValueError for a ``clip_skip`` that leaves some encoder without a state."""
        most = min(encoder.most_skipped for encoder in self.encoders)
        if isinstance(clip_skip, bool) or not isinstance(clip_skip, int | np.integer) or not 0 <= clip_skip <= most:
            raise ValueError(
                f"clip_skip={clip_skip!r} is not a whole number from 0 to {most}, the layers of the text encoder that "
                "can be left out; 0 leaves out none"
            )

    def _read_by(self, sign: str, columns: Mapping[str, list]) -> list[tuple[TextEncoder, list]]:
        """Each encoder with the column it reads."""
        first = columns[f"{sign}prompt"]
        return list(zip(self.encoders, [first, columns.get(f"{sign}prompt_2", first)], strict=False))

    def _tokenised(self, columns: Mapping[str, list], signs: Sequence[str], syntax: str) -> tuple[list[dict], int]:
        """Each encoder's chunks by text, and one count of chunks for all, so that a batch is one array."""
        texts, counts = [[] for _ in self.encoders], [1]
        for sign in signs:
            for column, (encoder, entries) in zip(texts, self._read_by(sign, columns), strict=True):
                column += [entry for entry in entries if isinstance(entry, str)]
                counts += [len(entry) // encoder.length for entry in entries if isinstance(entry, np.ndarray)]
        tokenised = [encoder.tokenise(column, syntax) for encoder, column in zip(self.encoders, texts, strict=True)]
        return tokenised, max(counts + [len(chunks) for by_text in tokenised for chunks in by_text.values()])

    def _encoded(
        self, sign: str, columns: Mapping[str, list], tokenised: list[dict], count: int, clip_skip: int
    ) -> Encoded:
        name, pooled = f"{sign}prompt", f"{sign}pooled_prompt_embeds"
        if not isinstance(columns[name][0], str):
            return Encoded(np.stack(columns[name]), np.stack(columns[pooled]) if pooled in columns else None)
        parts = [
            encoder.encode(texts, chunks, count, clip_skip)
            for (encoder, texts), chunks in zip(self._read_by(sign, columns), tokenised, strict=True)
        ]
        return Encoded(np.concatenate([part.states for part in parts], axis=-1), parts[-1].pooled)

    def _negative(
        self, columns: Mapping[str, list], prompts: Encoded, tokenised: list[dict], count: int, clip_skip: int
    ) -> Encoded:
        if columns["negative_prompt"][0] is None:
            return Encoded(np.zeros_like(prompts.states), np.zeros_like(prompts.pooled))
        negatives = self._encoded("negative_", columns, tokenised, count, clip_skip)
        if negatives.states.shape != prompts.states.shape:
            found = f"{negatives.states.shape}, the prompts' {prompts.states.shape}"
            raise ValueError(
                f"the negative prompts' states have shape {found}; give both prompt_embeds and negative_prompt_embeds, "
                "of one shape [B, L, d]"
            )
        return negatives


def column(values: Any) -> list:
    """A list of one entry per sample; one value stays a list of one."""
    return [values] if isinstance(values, str) or np.ndim(values) == 0 else list(values)


def _texts(name: str, texts: Any, states: ArrayLike | None, default: str | None = None) -> list:
    """One text per sample, or the states [L, d] given in its place."""
    if states is None:
        texts = column(default if texts is None else texts)
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"{name}[{index}]={text!r} is not a text; give a str, or {name}_embeds")
        return texts
    if texts is not None:
        raise ValueError(f"{name} and {name}_embeds are both given; give one of them")
    states = finite(f"{name}_embeds", states)
    if states.ndim != 3:
        raise ValueError(f"{name}_embeds has shape {states.shape}; give [B or 1, L, d]")
    return list(states)
