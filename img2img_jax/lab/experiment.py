"""An experiment from its configuration to its files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from img2img_jax import images, metadata
from img2img_jax.checkpoints import EMBEDDED_MODEL
from img2img_jax.checkpoints.atomic import replacing
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.engine import Engine
from img2img_jax.hosts import ALONE, Host
from img2img_jax.lab import plots, summary
from img2img_jax.lab.budget import settings_for
from img2img_jax.lab.gather import gather_inputs
from img2img_jax.lab.reference_lines import reference_rows
from img2img_jax.lab.results import Results
from img2img_jax.metrics import Evaluator
from img2img_jax.metrics.clip_features import EMBEDDED_CLIP
from img2img_jax.parallel import make_mesh
from img2img_jax.pipeline import Img2ImgPipeline
from img2img_jax.reports import write_report
from img2img_jax.runs import (
    Plan,
    Records,
    SharedEncodings,
    Sizing,
    Verification,
    make_manifest,
    make_plan,
    run,
    variations,
    verify,
)
from img2img_jax.sweep import Settings

Analyse = Callable[[Results], str]
PART = "references"


class Experiment:
    """A configuration with its model and its plan, in a work directory.

    Args:
      config: see ``lab.config.experiment_config``.
      workdir: created if need be.
      host: this process among several that make the experiment in one work directory.

    Raises:
      CheckpointError: a model that cannot be loaded.
      ImageError, ValueError: inputs or knobs that cannot be used, such as a mesh that does not fit the devices.
    """

    def __init__(self, config: ConfigDict, workdir: str | Path, *, host: Host = ALONE):
        self.config, self.workdir, self.host = config, Path(workdir), host
        self.inputs = gather_inputs(config, self.workdir)
        model = {name: value or None for name, value in config.model.items()}
        path, loras = model.pop("path"), [metadata.split_lora(lora) for lora in model.pop("loras") or ()]
        self.mesh = make_mesh(devices=jax.local_devices(), **config.mesh)
        self._pipe = Img2ImgPipeline.from_pretrained(path or EMBEDDED_MODEL, mesh=self.mesh, loras=loras, **model)
        self.pipe = SharedEncodings(self._pipe)
        slots = config.slots_per_device
        self._maker = Engine(self._pipe, slots_per_device=slots) if slots else self.pipe
        self.sizing = Sizing(
            height=config.height or None,
            width=config.width or None,
            resize=config.resize,
            background=config.background,
            multiple=self._pipe.vae_scale_factor,
        )
        self.provenance = metadata.provenance(
            self._pipe.folder,
            model=path,
            loras=[metadata.with_absolute_path(*lora) for lora in loras],
            **model,
            resize=config.resize,
            background=config.background,
        )
        self.plan = self._make_plan(self._strengths(), self._settings())

    def run(self) -> Results | None:
        """Makes and measures every picture that is not there yet, and the reference lines; writes ``summary.csv``.

        Returns:
          the results; None on all of several hosts but the first, which has them.

        Raises:
          ValueError: the work directory holds another run, or a metric was named that no input can have.
          HostDied: another host has stopped.
        """
        evaluate = self._evaluator()
        for failure in self.plan.failures:
            logging.error("input left out: %s", failure.error)
        rows = run(
            self._maker,
            self.plan,
            self.workdir,
            provenance=self.provenance,
            manifest=self._manifest(),
            evaluate=evaluate,
            config=json.loads(self.config.to_json()),
            host=self.host,
        )
        if self.host.index > 0:
            return None
        records = Records(self.workdir)
        if self.config.reference_lines and not records.has(PART):
            own = [row for row in rows if "reference" not in row]
            plan = self._make_plan([0.0], self._settings_at(0.0)[:1])
            records.write(PART, reference_rows(self.pipe, plan, self.workdir, evaluate, own))
            records.finish()
        results = Results.read(self.workdir)
        summary.write_summary(results, self._set_lines(results, evaluate))
        return results

    def verify(self, batches: int = 1) -> Verification:
        """Makes randomly drawn batches again and compares (see ``runs.verify``)."""
        return verify(self._maker, self.plan, self.workdir, provenance=self.provenance, batches=batches)

    def _make_plan(self, strengths: Sequence[float], settings: Any) -> Plan:
        return make_plan(
            self.inputs,
            prompts=list(self.config.prompts) or None,
            strengths=strengths,
            seeds=self.config.seeds,
            settings=settings,
            sizing=self.sizing,
            batch_size=self.config.batch_size,
        )

    def _strengths(self) -> list[float]:
        strengths = [float(strength) for strength in self.config.strengths]
        return strengths if 1.0 in strengths or not self.config.reference_lines else [*strengths, 1.0]

    def _settings(self) -> Any:
        return self._settings_at if self.config.network_evaluations else self._settings_at(0.0)

    def _settings_at(self, strength: float) -> list[Settings]:
        """The product of the configuration's settings; "" and 0 are None where that is the default."""
        defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
        knobs = {
            name: [None if defaults[name] is None and not value else value for value in values]
            for name, values in self.config.settings.items()
        }
        if not self.config.network_evaluations:
            return variations(**knobs)
        base = variations(**knobs | {"num_inference_steps": [0]})
        found = [
            each
            for evaluations in self.config.network_evaluations
            for each in settings_for(base, evaluations, strength, self._scheduler)
        ]
        return list(dict.fromkeys(found))

    def _scheduler(self, name: str | None) -> Scheduler:
        verbatim = self._pipe.unet.config.takes_sizes
        return Scheduler.from_config(self._pipe.scheduler_config, name, verbatim=verbatim)

    def _manifest(self) -> dict[str, Any]:
        config = self.config
        return make_manifest(
            self._pipe.folder,
            vae=config.model.vae,
            loras=[path for path, _ in map(metadata.split_lora, config.model.loras)],
            clip=config.clip or EMBEDDED_CLIP,
            lpips=config.lpips,
            dino=config.dino,
        )

    def _evaluator(self) -> Evaluator:
        config = self.config
        return Evaluator.load(
            config.metrics or None,
            clip=config.clip or EMBEDDED_CLIP,
            lpips=config.lpips,
            dino=config.dino or None,
            mesh=self.mesh,
        )

    def _set_lines(self, results: Results, evaluate: Evaluator) -> list[dict[str, Any]]:
        """KID and CMMD, if there are references of one size."""
        references = [images.as_unit(picture) for picture in self._references()]
        references = [picture for picture in references if picture.shape == references[0].shape]
        return summary.set_lines(results, evaluate.features, references) if len(references) > 1 else []

    def _references(self) -> list[np.ndarray]:
        """Those that inputs name; if none does, the inputs themselves."""
        named = [item.reference for item in self.inputs if item.reference is not None]
        made = []
        for path in dict.fromkeys(named or [item.path for item in self.inputs]):
            try:
                made.append(self.sizing.prepare(path))
            except images.ImageError as error:
                logging.warning("reference left out: %s", error)
        return made


def present(results: Results, analyse: Analyse) -> str:
    """Makes of a finished run what people look at: plots, figures and table.md by ``analyse``, report.html.

    Returns the table's text.
    """
    if plots.can_plot():
        plots.plot_all(results)
    else:
        logging.warning("no plots, since matplotlib is missing: pip install 'img2img_jax[plots]', and run again")
    text = analyse(results)
    with replacing(results.folder / "table.md") as file:
        file.write(text.encode())
    write_report(results.folder)
    return text
