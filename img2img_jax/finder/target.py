"""What a strength is sought for."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping

KNEE = "knee"
PREFIX = "auto:"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """A metric, and the value it is to take.

    Attributes:
      metric: a name from ``img2img_jax.metrics.METRICS``, or "lpips" for whichever LPIPS is loaded.
      value: a finite number; None for the knee of the curve, past which more strength changes the metric little.
    """

    metric: str
    value: float | None

    @classmethod
    def of(cls, target: Mapping[str, float | str]) -> Target:
        """Reads ``{"ssim": 0.7}`` or ``{"clip_text": "knee"}``.

        Raises:
          ValueError: not exactly one metric, or neither a finite number nor "knee".
        """
        if not isinstance(target, Mapping) or len(target) != 1:
            raise ValueError(f'target {target!r} must name one metric and its value, such as {{"ssim": 0.7}}')
        [(metric, value)] = target.items()
        if value == KNEE:
            return cls(metric=metric, value=None)
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise ValueError(f"target {metric}={value!r} is neither a finite number nor {KNEE!r}; give one of them")
        return cls(metric=metric, value=float(value))

    @classmethod
    def parse(cls, text: str) -> Target:
        """Reads the command's ``auto:ssim=0.7`` or ``auto:clip_text=knee``.

        Raises:
          ValueError: anything else.
        """
        metric, equals, value = text.removeprefix(PREFIX).partition("=")
        if not (text.startswith(PREFIX) and metric and equals):
            raise ValueError(f"{text!r} is no target; write {PREFIX}METRIC=VALUE, such as {PREFIX}ssim=0.7")
        try:
            return cls.of({metric: value if value == KNEE else float(value)})
        except ValueError:
            raise ValueError(f"{text!r}: {value!r} is neither a finite number nor {KNEE}; give one of them") from None

    @property
    def asked(self) -> float | str:
        """The value, or "knee"."""
        return KNEE if self.value is None else self.value

    def __str__(self) -> str:
        return f"{self.metric}={KNEE if self.value is None else f'{self.value:g}'}"
