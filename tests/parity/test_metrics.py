"""Every metric against the implementation it names."""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from absl import flags
from PIL import Image
from scipy import ndimage
from skimage import color, feature, metrics
from torch import nn

from img2img_jax.checkpoints import EMBEDDED_MODEL, load_component, save_component
from img2img_jax.metrics import Evaluator
from img2img_jax.metrics.canny import canny
from img2img_jax.metrics.clip_features import EMBEDDED_CLIP
from img2img_jax.metrics.ms_ssim import WEIGHTS, ms_ssim
from img2img_jax.metrics.ssim import ssim
from img2img_jax.models import ViTModel

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
DEMO = EMBEDDED_MODEL.with_name("demo")


def photos(height, width):
    """Two demo pictures, one of them with noise over it: [2,H,W,3], float in 0..1, source and output."""
    pictures = [Image.open(DEMO / name).convert("RGB") for name in ("picture.png", "sketch.png", "drawing.png")]
    a, b, c = (np.asarray(p.resize((width, height)), np.float32) / 255 for p in pictures)
    noise = 0.1 * RNG.standard_normal(a.shape, np.float32)
    return np.stack([a, b]), np.stack([np.clip(a + noise, 0, 1), c])


def nchw(images):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))


def test_pixel_errors_and_ssim():
    source, output = photos(45, 64)
    found = Evaluator({}, ["mse", "psnr", "ssim"])(source, output)
    options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=-1)
    for i, (a, b) in enumerate(zip(source.astype(float), output.astype(float), strict=True)):
        assert float(found["mse"][i]) == pytest.approx(metrics.mean_squared_error(a, b), rel=1e-5)
        assert float(found["psnr"][i]) == pytest.approx(metrics.peak_signal_noise_ratio(a, b, data_range=1), rel=1e-5)
        assert float(found["ssim"][i]) == pytest.approx(metrics.structural_similarity(a, b, **options), abs=1e-5)


def test_ssim_of_nearly_flat_pictures():
    """Where variances are differences of large numbers, float32 must still hold."""
    source = np.full((1, 20, 20, 3), 0.9, np.float32) + 1e-3 * RNG.standard_normal((1, 20, 20, 3), np.float32)
    output = source + 1e-3 * RNG.standard_normal(source.shape, np.float32)
    options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=-1)
    reference = metrics.structural_similarity(source[0].astype(float), output[0].astype(float), **options)
    assert float(ssim(source, output)[0]) == pytest.approx(reference, abs=1e-4)


def reference_ms_ssim(a, b):
    """Eq. 7 of Wang et al. 2003 for one channel, in float64 with SciPy."""

    def mean(x):
        return ndimage.gaussian_filter(x, 1.5, truncate=3.5)[5:-5, 5:-5]

    product = 1
    for scale, weight in enumerate(WEIGHTS):
        mean_a, mean_b = mean(a), mean(b)
        covariance = mean(a * b) - mean_a * mean_b
        variances = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
        terms = (2 * covariance + 0.03**2) / (variances + 0.03**2)
        if scale == len(WEIGHTS) - 1:
            terms = terms * (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        product *= max(terms.mean(), 0) ** weight
        # The mean of 2x2 pixels, then every other one.
        a, b = (ndimage.uniform_filter(x, 2, origin=-1, mode="nearest")[::2, ::2] for x in (a, b))
    return product


def test_ms_ssim():
    source, output = photos(173, 190)
    for a, b, value in zip(source.astype(float), output.astype(float), ms_ssim(source, output), strict=True):
        reference = np.mean([reference_ms_ssim(a[..., c], b[..., c]) for c in range(3)])
        assert float(value) == pytest.approx(reference, abs=1e-5)
        assert 0.01 < reference < 0.99


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_canny(sigma):
    images = np.concatenate(photos(90, 70))
    for image, edges in zip(images.astype(float), canny(images, sigma=sigma), strict=True):
        reference = feature.canny(color.rgb2gray(image), sigma)
        assert reference.sum() > 100
        assert (reference != edges).sum() <= 0.002 * reference.sum()


def _fire(c_in, squeezed, expanded):
    block = nn.Module()
    block.squeeze, block.expand1x1 = nn.Conv2d(c_in, squeezed, 1), nn.Conv2d(squeezed, expanded, 1)
    block.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(x):
        x = torch.relu(block.squeeze(x))
        return torch.cat([torch.relu(block.expand1x1(x)), torch.relu(block.expand3x3(x))], 1)

    block.forward = forward
    return block


def _features(*layers):
    return types.SimpleNamespace(features=nn.Sequential(*layers))


def _alexnet(pretrained):
    assert not pretrained
    relu, pool = nn.ReLU(), nn.MaxPool2d(3, 2)
    first = [nn.Conv2d(3, 64, 11, 4, 2), relu, pool, nn.Conv2d(64, 192, 5, padding=2), relu, pool]
    rest = [(192, 384), (384, 256), (256, 256)]
    return _features(*first, *(layer for widths in rest for layer in (nn.Conv2d(*widths, 3, padding=1), relu)))


def _vgg16(pretrained):
    assert not pretrained
    layers, c_in = [], 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        layers += [nn.Conv2d(c_in, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2, 2)]
        c_in = width or c_in
    return _features(*layers)


def _squeezenet(pretrained):
    assert not pretrained

    def pool():
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return _features(
        *(nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), _fire(64, 16, 64), _fire(128, 16, 64), pool()),
        *(_fire(128, 32, 128), _fire(256, 32, 128), pool(), _fire(256, 48, 192), _fire(384, 48, 192)),
        *(_fire(384, 64, 256), _fire(512, 64, 256)),
    )


@pytest.fixture(scope="module")
def lpips():
    """The package, with its three backbones in place of torchvision: the index's builds fit one build of torch each."""
    stand_in = types.ModuleType("torchvision")
    stand_in.models = types.SimpleNamespace(alexnet=_alexnet, vgg16=_vgg16, squeezenet1_1=_squeezenet)
    before = sys.modules.get("torchvision")
    sys.modules["torchvision"] = stand_in
    try:
        import lpips as package
    finally:  # transformers and diffusers ask whether it is there
        del sys.modules["torchvision"]
        if before is not None:
            sys.modules["torchvision"] = before
    return package


@pytest.fixture(scope="module")
def export():
    """What scripts/export_lpips.py does; its flags must not stay behind for other scripts."""
    spec = importlib.util.spec_from_file_location("export_lpips", ROOT / "scripts" / "export_lpips.py")
    script, known = importlib.util.module_from_spec(spec), set(flags.FLAGS)
    spec.loader.exec_module(script)
    for name in set(flags.FLAGS) - known:
        delattr(flags.FLAGS, name)
    return script.export


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_lpips(lpips, export, net, tmp_path):
    """Random backbones under the real linear layers, through the export that the document names."""
    torch.manual_seed(0)
    reference = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    for layer in reference.net.modules():
        if isinstance(layer, nn.Conv2d):  # the default would let all signals die on the way
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    export(reference, tmp_path)
    source, output = photos(51, 64)
    with torch.no_grad():
        expected, layers = reference(nchw(source), nchw(output), normalize=True, retPerLayer=True)
    assert min(float((layer / expected).min()) for layer in layers) > 0.002
    found = Evaluator.load([f"lpips_{net}"], clip=None, lpips=tmp_path)(source, output)[f"lpips_{net}"]
    np.testing.assert_allclose(found, expected.flatten(), rtol=2e-5)


def test_clip_metrics():
    """The embedded CLIP in PyTorch, as InstructPix2Pix computes its three figures."""
    source, output = photos(90, 128)
    source_prompt, prompt = ["a red heart", "a house"], ["a blue heart", "a drawing of a house"]
    found = Evaluator.load(["clip_image", "clip_text", "clip_direction"])(
        source, output, prompt=prompt, source_prompt=source_prompt
    )
    model = transformers.CLIPModel.from_pretrained(EMBEDDED_CLIP).eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(EMBEDDED_MODEL / "tokenizer")
    size = model.config.vision_config.image_size

    def features(images, texts):
        pixels = torch.nn.functional.interpolate(nchw(images), size=size, mode="bicubic", align_corners=False)
        ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            result = model(input_ids=ids, pixel_values=(pixels - 0.5) / 0.5)
        return result.image_embeds, result.text_embeds

    cosine = torch.nn.functional.cosine_similarity
    (image0, text0), (image1, text1) = features(source, source_prompt), features(output, prompt)
    np.testing.assert_allclose(found["clip_image"], cosine(image0, image1), atol=1e-5)
    np.testing.assert_allclose(found["clip_text"], cosine(image1, text1), atol=1e-5)
    np.testing.assert_allclose(found["clip_direction"], cosine(image1 - image0, text1 - text0), atol=2e-5)


def test_the_embedded_clip_tells_transformers_how_it_sees():
    processor = transformers.CLIPImageProcessor.from_pretrained(EMBEDDED_CLIP)
    assert (list(processor.image_mean), list(processor.image_std)) == ([0.5] * 3, [0.5] * 3)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A tiny random ViT in PyTorch, and its folder."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=3, image_size=32, patch_size=8
    )
    model = transformers.ViTModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("vit")
    model.save_pretrained(folder)
    return model, folder


def test_vit(vit, tmp_path):
    model, folder = vit
    images = RNG.standard_normal((2, 32, 32, 3), np.float32)
    with torch.no_grad():
        reference = model(nchw(images)).last_hidden_state
    ours = load_component(ViTModel, folder)
    np.testing.assert_allclose(ours(images), reference, atol=2e-5)
    save_component(ours, tmp_path)
    with torch.no_grad():
        again = transformers.ViTModel.from_pretrained(tmp_path, add_pooling_layer=False)(nchw(images))
    np.testing.assert_allclose(again.last_hidden_state, reference, atol=1e-6)


def test_structure_distance(vit):
    """PIE-Bench's: keys of the last layer, their cosines between all tokens, mean squared difference."""
    model, folder = vit
    source, output = photos(48, 48)

    def similarities(images):
        keys = []
        hook = model.layers[-1].attention.k_proj.register_forward_hook(lambda *args: keys.append(args[2]))
        resized = torch.nn.functional.interpolate(nchw(images), size=32, mode="bilinear", antialias=True)
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        with torch.no_grad():
            model((resized - mean[:, None, None]) / std[:, None, None])
        hook.remove()
        return torch.nn.functional.cosine_similarity(keys[0][:, :, None], keys[0][:, None], dim=-1)

    expected = (similarities(source) - similarities(output)).square().mean((1, 2))
    found = Evaluator.load(["structure_distance"], clip=None, dino=folder)(source, output)["structure_distance"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
