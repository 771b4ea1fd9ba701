"""Measures when two ways to the same pictures give the same bits, on the devices of this machine.

python scripts/measure_reproducibility.py --slots=8,1,2,3,16
"""

from absl import app, flags

_SLOTS = flags.DEFINE_list("slots", ["8", "1", "2", "3", "16"], "Slots per device; the first is the reference.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of weights and computation.")
_JOBS = flags.DEFINE_integer("jobs", 8, "Pictures.")
_STEPS = flags.DEFINE_integer("steps", 10, "Inference steps.")


def main(argv):
    del argv
    # After the flags: --help must not wait for JAX.
    import hashlib

    import jax
    import numpy as np
    from jax.sharding import Mesh

    from img2img_jax import Img2ImgPipeline
    from img2img_jax.checkpoints import EMBEDDED_MODEL
    from img2img_jax.engine import Engine, Job

    picture = EMBEDDED_MODEL.with_name("demo") / "picture.png"
    samplers = ["ddim", "euler_a", "dpmpp_2m", "unipc"]
    jobs = [
        Job(
            prompt=f"{colour} apple, 3d style",
            image=picture,
            height=64,
            width=64,
            strength=0.3 + 0.7 * n / _JOBS.value,
            seed=n,
            num_inference_steps=_STEPS.value,
            guidance_scale=4,
            scheduler=samplers[n % len(samplers)],
        )
        for n, colour in zip(range(_JOBS.value), ["red", "green", "blue", "yellow"] * _JOBS.value, strict=False)
    ]

    def pipeline(count):
        return Img2ImgPipeline.from_pretrained(
            dtype=_DTYPE.value, mesh=Mesh(np.asarray(jax.devices()[:count]), ("data",))
        )

    def latents(engine, jobs):
        found = {result.index: result.latents for result in engine.run(jobs, output_type="latent")}
        return np.stack([found[index] for index in range(len(jobs))])

    def tell(what, found, wanted):
        same = sum(np.array_equal(*pair) for pair in zip(found, wanted, strict=True))
        error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
        print(f"| {what} | {same} of {len(wanted)} | {error:.1e} |", flush=True)

    slots, *others = map(int, _SLOTS.value)
    pipe = pipeline(1)
    reference = latents(Engine(pipe, slots_per_device=slots), jobs)
    digest = hashlib.sha256(reference.tobytes()).hexdigest()[:16]
    print(f"{jax.devices()[0].device_kind}, {len(jax.devices())} devices, {_DTYPE.value}, {slots} slots: {digest}\n")
    print("| against the reference | same bits | relative difference of latents |\n| --- | --- | --- |")
    tell("in reverse order", latents(Engine(pipe, slots_per_device=slots), jobs[::-1])[::-1], reference)
    alone = [latents(Engine(pipe, slots_per_device=slots), [job]) for job in jobs]
    tell("each alone", np.concatenate(alone), reference)
    for count in sorted({2, len(jax.devices())} & set(range(2, len(jax.devices()) + 1))):
        tell(f"{count} devices", latents(Engine(pipeline(count), slots_per_device=slots), jobs), reference)
    for number in others:
        tell(f"{number} slots per device", latents(Engine(pipe, slots_per_device=number), jobs), reference)
    called = [
        pipe(
            job.prompt,
            job.image,
            strength=job.strength,
            seed=job.seed,
            num_inference_steps=job.num_inference_steps,
            guidance_scale=job.guidance_scale,
            scheduler=job.scheduler,
            height=job.height,
            width=job.width,
            output_type="latent",
        ).latents
        for job in jobs
    ]
    tell("the pipeline, one picture a call", np.concatenate(called), reference)


if __name__ == "__main__":
    app.run(main)
