"""Reading a checkpoint's ``config.json`` into a frozen dataclass, strictly."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

MAX_COUNT = 256
"""More layers, or blocks, than any of these networks has: what a file may ask for before anything is built by it."""
MAX_SIZE = 2**31


def _frozen(value: Any) -> Any:
    """Lists become tuples: static configuration must hash."""
    return tuple(_frozen(v) for v in value) if isinstance(value, (list, tuple)) else value


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Base of all model configurations.

    A key of the file is either a field (used), listed in ``neutral`` (known, supported only at the values listed
    there), listed in ``unused`` (says nothing about inference), or unknown. An unknown key is accepted only when it
    is switched off (``None`` or ``False``): a feature we do not know of must not be dropped silently.
    Fields in ``counts`` are numbers of layers.
    """

    class_name: ClassVar[str]
    counts: ClassVar[frozenset[str]] = frozenset()
    neutral: ClassVar[Mapping[str, tuple]] = {}
    unused: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Builds the configuration from the parsed JSON.

        Raises:
          ValueError: a key asks for something this implementation does not do, or for absurd numbers; the message
            names key and value.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        known: dict[str, Any] = {}
        for key, raw in values.items():
            value = _frozen(raw)
            if key in fields:
                _check_numbers(f"{cls.class_name}: {key}", value, MAX_COUNT if key in cls.counts else MAX_SIZE)
                known[key] = value
            elif key.startswith("_") or key in cls.unused:
                continue
            elif key in cls.neutral:
                if value not in cls.neutral[key]:
                    raise ValueError(
                        f"{cls.class_name}: {key}={raw!r} is not supported; supported: {list(cls.neutral[key])}"
                    )
            elif value not in (None, False):
                raise ValueError(
                    f"{cls.class_name}: unknown configuration key {key}={raw!r}. If the checkpoint does not depend "
                    "on it, remove it from config.json"
                )
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as diffusers or transformers would read it."""
        return dataclasses.asdict(self)


def _check_numbers(name: str, value: Any, limit: int) -> None:
    if isinstance(value, tuple):
        if len(value) > MAX_COUNT:
            raise ValueError(f"{name} has {len(value)} entries; at most {MAX_COUNT} are supported")
        for entry in value:
            _check_numbers(name, entry, limit)
    elif isinstance(value, (int, float)) and not 0 <= value <= limit:
        raise ValueError(f"{name}={value} is out of range; supported: 0 to {limit}")


def per_block(value: int | tuple[int, ...], blocks: int, name: str) -> tuple[int, ...]:
    """One value per block, whether the configuration gives one for all or a list.

    Raises:
      ValueError: a list of the wrong length.
    """
    values = (value,) * blocks if isinstance(value, int) else tuple(value)
    if len(values) != blocks:
        raise ValueError(f"{name}={value!r} has {len(values)} entries for {blocks} blocks")
    return values
