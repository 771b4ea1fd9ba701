"""Reading a checkpoint's ``config.json`` into a frozen dataclass, strictly."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self


def _frozen(value: Any) -> Any:
    """Lists become tuples: static configuration must hash."""
    return tuple(_frozen(v) for v in value) if isinstance(value, (list, tuple)) else value


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Base of all model configurations.

    A key of the file is either a field (used), listed in ``neutral`` (known, supported only at the values listed
    there), listed in ``unused`` (says nothing about inference), or unknown. An unknown key is accepted only when it
    is switched off (``None`` or ``False``): a feature we do not know of must not be dropped silently.
    """

    class_name: ClassVar[str]
    neutral: ClassVar[Mapping[str, tuple]] = {}
    unused: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Builds the configuration from the parsed JSON.

        Raises:
          ValueError: a key asks for something this implementation does not do; the message names key and value.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        known: dict[str, Any] = {}
        for key, raw in values.items():
            value = _frozen(raw)
            if key in fields:
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


def per_block(value: int | tuple[int, ...], blocks: int, name: str) -> tuple[int, ...]:
    """One value per block, whether the configuration gives one for all or a list.

    Raises:
      ValueError: a list of the wrong length.
    """
    values = (value,) * blocks if isinstance(value, int) else tuple(value)
    if len(values) != blocks:
        raise ValueError(f"{name}={value!r} has {len(values)} entries for {blocks} blocks")
    return values
