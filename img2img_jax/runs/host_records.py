"""The files of a run that several hosts make in one work directory, without a word between them.

Each host writes rows into a folder of its own, `hosts/NNN/rows/`, so that nobody waits for anybody. When its own share
is done, host 0 waits for the others, and moves all rows to where those of a single host would be. That a host is alive
shows in a file that changes every few seconds.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from img2img_jax.hosts import Host
from img2img_jax.runs.records import PICTURES, Records, remove_unfinished

FOLDER = "hosts"
BEAT, PATIENCE = 5.0, 120.0
"""Seconds between two signs of life, and without one until a host counts as dead."""


class HostDied(RuntimeError):
    """A host stopped before its share was done; the message names it and says what to do."""


class HostRecords(Records):
    """The rows of one host, among those of the others."""

    def __init__(self, workdir: Path, host: Host):
        super().__init__(workdir)
        self.host, self.own = host, workdir / FOLDER / f"{host.index:03d}"
        self._written = self.own / "rows"

    def has(self, part: str) -> bool:
        """Whether any host, in this launch or an earlier one, has made a part."""
        return super().has(part) or any(self.workdir.glob(f"{FOLDER}/*/rows/{part}.jsonl"))

    def _remove_leftovers(self) -> None:
        """Removes its own; those of others may be files that they are writing."""
        remove_unfinished(self._written, ".*")

    def gather(self, parts: Mapping[str, int]) -> None:
        """On host 0: waits until all parts are there, and puts them together.

        Args:
          parts: to the indices of the hosts that make them.

        Raises:
          HostDied: a host has shown no sign of life for `PATIENCE` seconds, and parts of it are missing.
        """
        watch = _Watch(self.workdir)
        while missing := [part for part in parts if not self.has(part)]:
            dead = sorted({parts[part] for part in missing if not watch.alive(parts[part])})
            if dead:
                theirs = [part for part in missing if parts[part] in dead]
                raise HostDied(
                    f"host {', '.join(map(str, dead))} of {self.host.count} stopped; {len(theirs)} batches of it are "
                    f"missing in {self.workdir}. Start the run again, on as many hosts as you like: what is there is "
                    "kept, and nothing is made twice"
                )
            time.sleep(min(1.0, BEAT / 4))
        collect(self.workdir)
        # Pictures are all there: what is still half written, a killed host has left.
        remove_unfinished(self.workdir, *(f"{folder}/.*" for folder in PICTURES))

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Shows signs of life while the block runs."""
        self.own.mkdir(parents=True, exist_ok=True)
        stop = threading.Event()
        thread = threading.Thread(target=_beat, args=(_beat_file(self.own), stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def collect(workdir: Path) -> None:
    """Moves the rows of all hosts to `rows/`; for a time when none is at work."""
    for part in workdir.glob(f"{FOLDER}/*/rows/*.jsonl"):
        os.replace(part, workdir / "rows" / part.name)


def _beat_file(own: Path) -> Path:
    return own / "beat"


def _beat(path: Path, stop: threading.Event) -> None:
    launch, beats = uuid.uuid4().hex, 0  # a new launch differs from what an earlier one left
    while True:
        path.write_text(f"{launch} {beats}")
        beats += 1
        if stop.wait(BEAT):
            return


class _Watch:
    """Remembers when each host's file was last seen to change: clocks of hosts differ, and are not compared."""

    def __init__(self, workdir: Path):
        self._workdir, self._seen = workdir, {}

    def alive(self, index: int) -> bool:
        file, now = _beat_file(self._workdir / FOLDER / f"{index:03d}"), time.monotonic()
        beat: Any = file.read_text() if file.is_file() else None
        last, since = self._seen.setdefault(index, (beat, now))
        if beat != last:
            self._seen[index] = (beat, now)
        return beat != last or now - since < PATIENCE
