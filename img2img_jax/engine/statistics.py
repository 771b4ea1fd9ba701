"""What an engine has done, counted."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(kw_only=True)
class Statistics:
    """Counts since the engine was built.

    Attributes:
      jobs: results handed out.
      slot_steps: rows of slots that devices were sent through, whether or not a sample was in them.
      useful_slot_steps: those of them that took a sample further.
      chunks: launches of the step program.
      pictures_encoded, conditions_read: distinct ones of each run, without padding.
    """

    jobs: int = 0
    slot_steps: int = 0
    useful_slot_steps: int = 0
    chunks: int = 0
    pictures_encoded: int = 0
    conditions_read: int = 0

    @property
    def utilisation(self) -> float:
        """The share of slot-steps that were useful, in [0, 1]; 1 before the first."""
        return self.useful_slot_steps / self.slot_steps if self.slot_steps else 1.0
