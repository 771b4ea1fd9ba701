"""A small CLIP on emoji art, whose text tower conditions the UNet.

Cost: about 15 minutes on one CPU core. Command:
  python experiments/train_emoji/run.py --config=configs/train_emoji_clip.py --workdir=runs/clip
``:tiny`` (``--config=configs/train_emoji_clip.py:tiny``) runs the same code in under two minutes.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    """The configuration; ``arg`` is "" or "tiny"."""
    tiny = arg == "tiny"
    width = 64 if tiny else 192

    def tower(hidden: int, layers: int) -> dict:
        return dict(
            hidden_size=hidden,
            intermediate_size=4 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=4,
            hidden_act="gelu",
            projection_dim=width,
        )

    steps = 20 if tiny else 1200
    return ConfigDict(
        dict(
            stage="clip",
            resolution=64,
            batch_size=32 if tiny else 128,
            num_concepts=50 if tiny else 0,
            more_captions=0,
            traced_share=0.0,
            smoothing=0.05,
            kept_share=1.0,
            heads_as_taps=False,
            augmentation=dict(),
            model=dict(
                projection_dim=width,
                text_config=dict(
                    vocab_size=4000,
                    max_position_embeddings=24,
                    eos_token_id=3999,
                    **tower(width, 1 if tiny else 3),
                ),
                vision_config=dict(image_size=64, patch_size=8, **tower(64 if tiny else 128, 1 if tiny else 4)),
            ),
            optimizer=dict(learning_rate=1e-3, steps=steps, warmup_steps=steps // 10, weight_decay=0.1),
            fit=dict(
                steps=steps,
                ema_decay=0.995,
                log_every=10,
                evaluate_every=20 if tiny else 100,
                checkpoint_every=20 if tiny else 100,
            ),
        )
    )
