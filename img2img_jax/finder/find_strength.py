"""From a pipeline and a target to a strength: rounds of one batch each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from img2img_jax import images
from img2img_jax.conditioning import column
from img2img_jax.diffusion.strength import ResolvedStart
from img2img_jax.finder.bisection import EVALUATIONS, Answer, answer, first_strengths, next_strengths
from img2img_jax.finder.curve import Curve
from img2img_jax.finder.target import Target
from img2img_jax.metrics import METRICS, Evaluator
from img2img_jax.pipeline import Img2ImgPipeline, broadcast


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FoundStrength:
    """The answer for one sample, and what was seen on the way to it.

    Attributes:
      strength: the best one tried; in continuous mode it gives this value again.
      value: of the metric there.
      picture: made there, float32 [H,W,3] in 0..1.
      start: where the sampler really started.
      target: as asked for, the metric by its full name.
      tolerance: in units of the metric; None for a knee.
      reached: whether the target was met; if not, ``problem`` says why, and strength is the one that came nearest.
      problem: text, or None.
      curve: all that was seen, in order of strength.
      non_monotone: stretches of strength in which the metric goes the other way than on the whole; if there are any,
        other strengths may meet the target as well, and the least one seen was taken.
      evaluations: pictures made, the answer included.
    """

    strength: float
    value: float
    picture: np.ndarray
    start: ResolvedStart
    target: Target
    tolerance: float | None
    reached: bool
    problem: str | None
    curve: Curve
    non_monotone: list[tuple[float, float]]
    evaluations: int


def find_strength(
    pipe: Img2ImgPipeline,
    image: Any,
    prompt: str | Sequence[str],
    *,
    target: Mapping[str, float | str],
    tolerance: float | None = None,
    evaluations: int = EVALUATIONS,
    points: int = 2,
    evaluator: Evaluator | None = None,
    seed: int | Sequence[int] = 0,
    negative_prompt: str | Sequence[str] | None = None,
    guidance_scale: float | Sequence[float] = 7.5,
    source_prompt: str | Sequence[str] | None = None,
    prompt_syntax: str = "plain",
    clip_skip: int = 0,
    vae_tile_size: int | None = None,
    sizing: Mapping[str, Any] | None = None,
    **settings: Any,
) -> list[FoundStrength]:
    """Finds, for each sample, the least strength that brings a metric to its target.

    Bisection in continuous mode, where a metric is a function of strength without steps. A sample has the same noise at
    every strength. Every round is one batch of B times ``points`` samples, so that all rounds, and all later calls with
    as many pictures of the size, run the same compiled programs. Each picture is encoded once, each prompt read once.

    SDEdit (Meng et al. 2108.01073, sec. 4) recommends to search for its t_0 this way by hand.

    Args:
      pipe: the pipeline.
      image, prompt, seed, negative_prompt, guidance_scale: as in a call; one for all, or one per sample.
      target: one metric and its value, such as ``{"ssim": 0.7}``; or "knee" for the value, the strength past which more
        changes the metric little.
      tolerance: in units of the metric; by default 1/40 of the span of the curve seen, which is what the nearest of 20
        strengths leaves on a straight curve.
      evaluations: most pictures to make per sample; the default is less than a third of a sweep of 20.
      points: strengths a round tries of each sample.
      evaluator: with the networks of the metric; by default the metrics that need none, and the embedded CLIP.
      source_prompt: what the inputs show, for ``clip_direction``.
      prompt_syntax, clip_skip, vae_tile_size: as in a call.
      sizing: height, width, resize and background, as in a call.
      **settings: for the pipeline: num_inference_steps, scheduler, eta, ...

    Returns:
      One ``FoundStrength`` per sample. A target that is not met is no error here: see ``reached`` and ``problem``.

    Raises:
      ValueError: an argument out of its range, an unknown metric or one whose network is missing; or whatever the
        pipeline objects to.
    """
    aim = Target.of(target)
    if points < 1 or evaluations < points:
        raise ValueError(f"evaluations={evaluations} and points={points}: give at least 1 point, and one round of them")
    evaluator = _evaluator(evaluator, aim)
    [metric] = evaluator.names
    aim = dataclasses.replace(aim, metric=metric)
    size, columns = broadcast(
        {
            "image": list(images.prepare_batch(image, multiple=pipe.vae_scale_factor, **(sizing or {}))),
            "prompt": column(prompt),
            "negative_prompt": column("" if negative_prompt is None else negative_prompt),
            "seed": column(seed),
            "guidance_scale": column(guidance_scale),
            "source_prompt": column(source_prompt if source_prompt is not None else ""),
        }
    )
    source = np.stack(columns["image"])
    texts = pipe.encode_prompt(
        columns["prompt"],
        None if negative_prompt is None else columns["negative_prompt"],
        prompt_syntax=prompt_syntax,
        clip_skip=clip_skip,
    )
    trials = _Trials(
        pipe=pipe,
        evaluate=evaluator,
        points=points,
        source=np.repeat(images.as_unit(source), points, axis=0),
        latents=np.repeat(pipe.encode(source, seed=columns["seed"], vae_tile_size=vae_tile_size), points, axis=0),
        prompt=_repeat(columns["prompt"], points),
        source_prompt=None if source_prompt is None else _repeat(columns["source_prompt"], points),
        call=dict(
            **{name: np.repeat(states, points, axis=0) for name, states in texts.items()},
            seed=_repeat(columns["seed"], points),
            guidance_scale=_repeat(columns["guidance_scale"], points),
            vae_tile_size=vae_tile_size,
            **settings,
        ),
    )
    return _bisect(trials, size, aim, tolerance, rounds=evaluations // points)


def _bisect(trials: _Trials, size: int, aim: Target, tolerance: float | None, rounds: int) -> list[FoundStrength]:
    curves = [Curve(strengths=(0.0,), values=(value,)) for value in trials.round_trip()]
    made: list[dict[float, Any]] = [{} for _ in range(size)]
    answers: list[Answer] = []
    for done in range(rounds):
        last = done == rounds - 1
        if done == 0:
            strengths = [first_strengths(trials.points)] * size
        else:
            # Samples that are done stay in the batch, whose shape is compiled; what they add to the curve is kept.
            strengths = [next_strengths(curve, aim, trials.points, last=last) for curve in curves]
        for place, outcome in enumerate(trials(strengths)):
            curves[place] = curves[place].extended((strength, value) for strength, value, *_ in outcome)
            made[place].update({strength: (picture, start) for strength, _, picture, start in outcome})
        answers = [answer(curve, aim, tolerance) for curve in curves]
        # A knee is only as sharp as the points beside it: it takes all rounds.
        if aim.value is not None and all(found.reached for found in answers):
            break
    return [
        _found(curve, found, aim, (done + 1) * trials.points, pictures)
        for curve, found, pictures in zip(curves, answers, made, strict=True)
    ]


def _found(curve: Curve, found: Answer, aim: Target, evaluations: int, made: Mapping[float, Any]) -> FoundStrength:
    strength, value = curve.pairs[found.place]
    picture, start = made[strength]
    return FoundStrength(
        strength=strength,
        value=value,
        picture=picture,
        start=start,
        target=aim,
        tolerance=found.tolerance,
        reached=found.reached,
        problem=found.problem,
        curve=curve,
        non_monotone=curve.non_monotone(),
        evaluations=evaluations,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Trials:
    """Makes and measures ``points`` pictures of each of B samples at a time.

    All that is given per sample stands here ``points`` times, one after the other.
    """

    pipe: Img2ImgPipeline
    evaluate: Evaluator
    points: int
    source: np.ndarray
    latents: np.ndarray
    prompt: list[str]
    source_prompt: list[str] | None
    call: Mapping[str, Any]

    def __call__(self, strengths: Sequence[Sequence[float]]) -> list[list[tuple[float, float, np.ndarray, Any]]]:
        """For each sample (strength, value, picture, start) of each of its strengths."""
        out = self.pipe(
            None,
            self.latents,
            strength=[strength for row in strengths for strength in row],
            strength_mode="continuous",
            output_type="np",
            **self.call,
        )
        asked = [start.strength for start in out.strength]
        rows = list(zip(asked, self._values(out.images, out.latents), out.images, out.strength, strict=True))
        return [rows[place : place + self.points] for place in range(0, len(rows), self.points)]

    def round_trip(self) -> list[float]:
        """The metric of each sample when the VAE alone has worked on it."""
        decoded = self.pipe.decode(self.latents, vae_tile_size=self.call["vae_tile_size"])
        return self._values(decoded, self.latents)[:: self.points]

    def _values(self, pictures: np.ndarray, latents: np.ndarray) -> list[float]:
        values = self.evaluate(
            self.source,
            pictures,
            prompt=self.prompt,
            source_prompt=self.source_prompt,
            source_latents=self.latents,
            output_latents=latents,
        )
        [column] = values.values()
        return np.asarray(column, np.float64).tolist()


def _evaluator(evaluator: Evaluator | None, target: Target) -> Evaluator:
    if evaluator is None:
        metric = METRICS.get(target.metric)
        clip = metric is not None and metric.network == "clip"
        evaluator = Evaluator.load() if clip else Evaluator.load(clip=None)
    return evaluator.only(target.metric)


def _repeat(values: Sequence[Any], times: int) -> list[Any]:
    return [value for value in values for _ in range(times)]
