"""The UNet of the emoji model: v-prediction with zero terminal SNR on the VAE's latents.

Needs ``--workdir`` beside finished ``clip`` and ``vae`` runs and their export (see experiments/train_emoji). Command:
  python experiments/train_emoji/run.py --config=configs/train_emoji_unet.py --workdir=runs/unet --model=runs/model
``:tiny`` runs the same code in under two minutes.
"""

from ml_collections import ConfigDict

from img2img_jax.diffusion.schedule import ending_at, linear_betas


def _betas() -> tuple[float, ...]:
    """Noise for small latents: alpha falls nearly as 1 - t^2.

    The fewer pixels, the more of a picture does the same noise destroy (Hoogeboom et al. 2301.11093). These latents are
    16 x 16, and of Stable Diffusion's schedule, made for 64 x 64, the last third would all be the same to them. The end
    at 0.07, about Stable Diffusion's, is for the samplers of diffusers that have no ``rescale_betas_zero_snr``.
    """
    return tuple(ending_at(linear_betas(2e-5, 5e-4, 1000), 0.07).tolist())


def get_config(arg: str = "") -> ConfigDict:
    """The configuration; ``arg`` is "" or "tiny"."""
    tiny = arg == "tiny"
    steps = 10 if tiny else 40000
    return ConfigDict(
        dict(
            stage="unet",
            resolution=64,
            batch_size=8 if tiny else 16,
            num_concepts=20 if tiny else 300,
            variants=1 if tiny else 6,
            caption_dropout=0.1,
            unchanged_share=0.55,
            restyled_share=0.4,
            timestep_skew=2.0,
            scheduler=dict(
                _class_name="DDIMScheduler",
                beta_schedule="linear",
                trained_betas=_betas(),
                num_train_timesteps=1000,
                prediction_type="v_prediction",
                rescale_betas_zero_snr=True,
                timestep_spacing="trailing",
                clip_sample=False,
                set_alpha_to_one=True,
                steps_offset=1,
            ),
            model=dict(
                sample_size=16,
                in_channels=6,
                out_channels=6,
                down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * (1 if tiny else 2)),
                up_block_types=(*["CrossAttnUpBlock2D"] * (1 if tiny else 2), "UpBlock2D"),
                block_out_channels=(32, 64) if tiny else (96, 192, 192),
                layers_per_block=1 if tiny else 2,
                attention_head_dim=2 if tiny else (3, 6, 6),
                cross_attention_dim=64 if tiny else 192,
                norm_num_groups=32,
                use_linear_projection=True,
            ),
            optimizer=dict(learning_rate=5e-4, steps=steps, warmup_steps=min(200, steps // 2), weight_decay=0.01),
            fit=dict(
                steps=steps,
                ema_decay=0.9995,
                log_every=5 if tiny else 20,
                evaluate_every=10 if tiny else 500,
                checkpoint_every=10 if tiny else 250,
            ),
            prompts=(
                "red apple, flat style",
                "green apple, 3d style",
                "blue fish, cartoon style",
                "cat face, shaded style",
                "yellow car, flat style",
                "strawberry, 3d style",
                "pizza, cartoon style",
                "umbrella, line drawing",
            ),
        )
    )
