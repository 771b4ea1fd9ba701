"""Carries a plan out, and goes on where it stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from img2img_jax import images, metadata, sweep
from img2img_jax.engine import Engine
from img2img_jax.hosts import ALONE, Host
from img2img_jax.runs.host_records import HostRecords, collect
from img2img_jax.runs.in_flight import Rendered, in_flight
from img2img_jax.runs.plan import Plan, PlannedBatch, Trial, read_pixels
from img2img_jax.runs.records import Records, Row
from img2img_jax.runs.suited import Evaluate, check_metrics, suited


def run(
    pipe: sweep.Pipeline | Engine,
    plan: Plan,
    workdir: str | Path,
    *,
    provenance: Mapping[str, Any],
    manifest: Mapping[str, Any],
    evaluate: Evaluate | None = None,
    config: Mapping[str, Any] | None = None,
    host: Host = ALONE,
) -> list[dict[str, Any]]:
    """Makes every picture of the plan that is not there yet, and returns all rows, in the plan's order.

    A batch is written when it is done: first its pictures, then its rows, in one file. A process that is killed loses
    at most the batch at hand (with an engine, those begun), which is made again in the same composition, so that the
    files of the finished run do not depend on when and how often it was interrupted. Seconds, which do, go to
    `seconds.jsonl`.

    Args:
      pipe: the pipeline; `SharedEncodings` of it; or an `engine.Engine`, which leaves no slot idle while trials last,
        and whose results do not depend on the batches.
      plan: from `make_plan`.
      workdir: for `config.json`, `manifest.json`, `images/`, `rows/`, `rows.jsonl` and `seconds.jsonl`.
      provenance: from `metadata.provenance`.
      manifest: from `make_manifest`; a run goes on only with the same code, weights, libraries and devices.
      evaluate: `metrics.Evaluator`, or anything called with source, output (float [B,H,W,3]) and `prompt` that returns
        values [B] by name. It gets `source_prompt`, `mask` (bool [B,H,W]), `source_latents` and `output_latents` as
        well where inputs and pipeline (`SharedEncodings`) give them. Inputs that cannot have a metric that an Evaluator
        names, being too small or without a mask, go without, and a warning says so.
      config: what the plan was made from, to be kept in `config.json`.
      host: the place of this process among several that run the same plan in the same (shared) directory, each for the
        batches that are its own. Host 0 waits for the others and returns all rows, the others return none.

    Raises:
      ValueError: the directory holds another run, or no input can have a metric that was named.
      HostDied: on host 0, another host has stopped; what it has not made is made when the run is started again.
    """
    check_metrics(evaluate, plan)
    workdir = Path(workdir)
    records = Records(workdir) if host.count == 1 else HostRecords(workdir, host)
    sizes = {"trials": len(plan.trials), "batches": len(plan.batches), "failed_inputs": len(plan.failures)}
    about = {"plan_sha256": plan.sha256, **sizes, "provenance": provenance}
    records.open(about if config is None else about | {"config": config}, manifest)
    (workdir / "images").mkdir(exist_ok=True)
    if host.count == 1:
        collect(workdir)  # what several hosts of an earlier launch have left
    if host.index == 0:
        records.write("inputs", map(dataclasses.asdict, plan.failures))
    share = [(number, batch) for number, batch in enumerate(plan.batches) if host.takes(number)]
    with records.alive():
        _make_missing(pipe, share, records, provenance, evaluate)
        if host.index == 0:
            records.gather({_part(number): number % host.count for number in range(len(plan.batches))})
    if host.index > 0:
        return []
    records.finish()
    return records.read()


def _make_missing(pipe, share: Sequence[tuple[int, PlannedBatch]], records: Records, provenance, evaluate) -> None:
    left = [(number, batch) for number, batch in share if not records.has(_part(number))]
    total, to_do = (sum(len(batch.trials) for _, batch in batches) for batches in (share, left))
    with tqdm(total=total, initial=total - to_do, unit="picture", desc="run") as bar:
        started, batches = time.perf_counter(), dict(left)
        for number, rendered in render_all(pipe, left, provenance):
            batch = batches[number]
            records.write(_part(number), _rows(number, batch, rendered, records.workdir, evaluate))
            _append_seconds(records.own, number, len(batch.trials), time.perf_counter() - started)
            bar.update(len(batch.trials))
            started = time.perf_counter()


def _part(number: int) -> str:
    return f"{number:06d}"


def _rows(number: int, batch: PlannedBatch, rendered: Sequence[Rendered], workdir: Path, evaluate) -> list[Row]:
    """Writes the pictures of a batch, and returns its rows."""
    made, failed = [], []
    for trial, result in rendered:
        if isinstance(result, images.ImageError):
            failed.append(
                {"index": trial.index, "trial": trial.id, "image": trial.sample.image.name, "error": str(result)}
            )
        else:
            made.append((trial, result))
    values = measure(suited(evaluate, batch.trials[0]), made, batch.size)
    rows = []
    for place, (trial, result) in enumerate(made):
        file = f"images/{trial.index:06d}_{trial.id}.png"
        metadata.write_png(workdir / file, result.picture, result.parameters)
        parameters = result.parameters
        rows.append(
            {
                "index": trial.index,
                "trial": trial.id,
                **trial.knobs(),
                "batch": number,
                "batch_size": parameters.batch_size,
                "batch_index": parameters.batch_index,
                "start": parameters.start,
                "output": file,
                "output_sha256": pixels_sha256(result.picture),
                "metrics": {name: float(column[place]) for name, column in values.items()},
            }
        )
    return rows + failed


def render_all(
    pipe: sweep.Pipeline | Engine, batches: Sequence[tuple[int, PlannedBatch]], provenance: Mapping[str, Any]
) -> Iterator[tuple[int, list[Rendered]]]:
    """Makes numbered batches: one after the other, or with an engine all together, each handed out when it is whole."""
    if isinstance(pipe, Engine):
        yield from in_flight(pipe, batches, provenance)
    else:
        for number, batch in batches:
            yield number, list(_render(pipe, batch, provenance))


def _render(pipe: sweep.Pipeline, batch: PlannedBatch, provenance: Mapping[str, Any]) -> Iterator[Rendered]:
    """Makes the pictures of one batch; a trial whose input has become unusable since it was planned gives the error."""
    readable, pixels = [], {}
    for trial in batch.trials:
        path = trial.sample.image
        try:
            if path not in pixels:
                pixels[path] = read_pixels(trial)
            readable.append((trial, dataclasses.replace(trial.sample, pixels=pixels[path])))
        except images.ImageError as error:
            yield trial, error
    if readable:
        samples = sweep.Batch(samples=[sample for _, sample in readable], size=batch.size)
        results = sweep.run(pipe, [samples], readable[0][0].settings, provenance)
        yield from zip([trial for trial, _ in readable], results, strict=True)


def measure(evaluate: Evaluate | None, made: list[tuple[Trial, sweep.Result]], size: int) -> Mapping[str, Any]:
    """Values [size] by metric of the trials of one batch, the last one repeated to ``size``."""
    if evaluate is None or not made:
        return {}
    # Filled up as the batch was, so that metrics compile once as well.
    rows = made + made[-1:] * (size - len(made))
    trials, results = zip(*rows, strict=True)
    given = {"prompt": [result.sample.prompt for result in results]}
    if trials[0].input.source_prompt is not None:
        given["source_prompt"] = [trial.input.source_prompt for trial in trials]
    if trials[0].input.mask is not None:
        given["mask"] = np.stack([trial.mask() for trial in trials])
    if results[0].latents is not None:
        pairs = zip(*(result.latents for result in results), strict=True)
        given["source_latents"], given["output_latents"] = map(np.stack, pairs)
    source = images.as_unit(np.stack([result.sample.pixels for result in results]))
    output = images.as_unit(np.stack([np.asarray(result.picture) for result in results]))
    values = evaluate(source, output, **given)
    return {name: np.asarray(column) for name, column in values.items()}


def pixels_sha256(picture: Any) -> str:
    """SHA-256 of a picture's size and RGB bytes: what a PNG holds, however it was compressed."""
    pixels = np.ascontiguousarray(np.asarray(picture, np.uint8))
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


def _append_seconds(workdir: Path, number: int, samples: int, seconds: float) -> None:
    with (workdir / "seconds.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"batch": number, "samples": samples, "seconds": round(seconds, 4)}) + "\n")
