"""Packaging. Lower bounds are the versions the tests were run with."""

from setuptools import find_packages, setup

setup(
    name="img2img_jax",
    version="0.1.0",
    description="Image-to-image diffusion in JAX, and the experiments that measure fidelity against strength",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["img2img_jax", "img2img_jax.*"]),
    package_data={"img2img_jax": ["assets/**/*", "reports/page/*"]},
    install_requires=[
        "absl-py>=2.3",
        "flax>=0.12.8",
        "fsspec>=2023.5",
        "huggingface_hub>=1.0",
        "jax>=0.10.2",
        "jaxtyping>=0.3.11",
        "ml_collections>=1.1",
        "numpy>=2.4",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.8",
        "pillow>=12.0",
        "safetensors>=0.8",
        "scipy>=1.17",
        "tokenizers>=0.22",
        "tqdm>=4.67",
        "transformers>=5.23",
    ],
    extras_require={
        "aot": ['libtpu>=0.0.52; sys_platform == "linux"'],  # a compiler for TPUs; it needs none to run, but Linux
        "train": ["resvg_py>=0.5"],
        "plots": ["matplotlib>=3.10"],
        "test": [
            "pytest>=9.0",
            "pytest-xdist>=3.8",
            "hypothesis>=6.150",
            "matplotlib>=3.10",
            "resvg_py>=0.5",
            "ruff>=0.14",
        ],
        "parity": ["torch>=2.13", "diffusers>=0.42.1", "accelerate>=1.12", "peft>=0.21", "scikit-image>=0.26"],
    },
    entry_points={"console_scripts": ["img2img = img2img_jax.cli:main"]},
)
