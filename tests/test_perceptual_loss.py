"""Losses against numpy in float64, and the VGG against convolutions written out."""

import hashlib
import math
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fast_style.errors import UsageError, WeightsError
from fast_style.models import vgg
from fast_style.models.perceptual_loss import (
    LossConfig,
    PerceptualLoss,
    Vgg,
    gram_matrix,
    layer_names,
    total_variation,
)

Array = NDArray[np.float64]
WEIGHTS = Path(str(files("fast_style"))) / "weights" / "vgg16_relu4_3_fp16.safetensors"
# torchvision's numbers of the convolutions, by the layer they end in.
INDEX = {"relu1_1": 0, "relu1_2": 2, "relu2_1": 5, "relu2_2": 7, "relu3_1": 10}


def numpy_features(image: Array, deepest: str) -> dict[str, Array]:
    """VGG-16 features of one RGB image, (3, H, W) in [0, 1], in float64 without torch."""
    weights = load_file(WEIGHTS)
    mean = np.array([103.939, 116.779, 123.68])[:, None, None]
    features = image[::-1] * 255 - mean
    found: dict[str, Array] = {}
    for layer, index in INDEX.items():
        if layer in ("relu2_1", "relu3_1"):
            height, width = features.shape[1] // 2, features.shape[2] // 2
            cells = features[:, : 2 * height, : 2 * width].reshape(-1, height, 2, width, 2)
            features = cells.max(axis=(2, 4))
        windows = sliding_window_view(np.pad(features, ((0, 0), (1, 1), (1, 1))), (3, 3), (1, 2))
        weight = weights[f"features.{index}.weight"].astype(np.float64)
        bias = weights[f"features.{index}.bias"].astype(np.float64)
        features = np.einsum("chwyx,ncyx->nhw", windows, weight) + bias[:, None, None]
        features = np.maximum(features, 0)
        found[layer] = features
        if layer == deepest:
            return found
    raise AssertionError(deepest)


def numpy_gram(features: Array) -> Array:
    channels, height, width = features.shape
    return np.einsum("ahw,bhw->ab", features, features) / (channels * height * width)


def loss_config(**changes: object) -> LossConfig:
    values: dict[str, object] = {
        "vgg": "bundled",
        "content_layers": {"relu2_1": 1.0},
        "style_layers": {"relu1_2": 1.0, "relu2_2": 0.5},
        "content_weight": 2.0,
        "style_weight": 3.0,
        "tv_weight": 0.25,
    }
    return LossConfig(**(values | changes))  # type: ignore[arg-type]


def test_vgg_features_equal_numpy() -> None:
    image = np.random.default_rng(0).random((3, 13, 18))
    expected = numpy_features(image, "relu3_1")
    vgg = Vgg("bundled", expected).double()
    with torch.no_grad():
        found = vgg(torch.from_numpy(image)[None], expected)
    assert set(found) == set(expected)
    for layer, features in expected.items():
        # The mean is stored in float32, which is good to 1e-5 of a grey level.
        np.testing.assert_allclose(found[layer][0].numpy(), features, rtol=1e-6, atol=1e-3)


def test_gram_matrix_equals_numpy() -> None:
    features = np.random.default_rng(1).normal(size=(2, 5, 7, 3))
    found = gram_matrix(torch.from_numpy(features)).numpy()
    for image in range(2):
        np.testing.assert_allclose(found[image], numpy_gram(features[image]), rtol=1e-12)


def test_gram_matrix_is_float32_under_autocast() -> None:
    features = torch.rand(1, 8, 200, 200) * 100
    with torch.autocast("cpu", torch.bfloat16):
        found = gram_matrix(features.bfloat16())
    assert found.dtype == torch.float32
    expected = numpy_gram(features.bfloat16().double().numpy()[0])
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-4)


def test_gram_matrix_gradient_equals_finite_differences() -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(gram_matrix, features.requires_grad_())


def test_gram_matrix_gradient_in_bf16_is_close() -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(2, 16, 20, 30, generator=generator).bfloat16()
    wanted = torch.randn(2, 16, 16, generator=generator)
    found = features.clone().requires_grad_()
    (gram_matrix(found) * wanted).sum().backward()
    rows = features.double().flatten(2)
    symmetric = wanted.double() + wanted.double().transpose(1, 2)
    expected = (symmetric @ rows / rows[0].numel()).unflatten(2, (20, 30))
    assert found.grad is not None
    error = (found.grad.double() - expected).norm() / expected.norm()
    assert error < 2**-7


@pytest.mark.parametrize("shape", [(1, 3, 6, 9), (2, 3, 1, 5), (2, 1, 5, 1), (1, 1, 1, 1)])
def test_total_variation_equals_numpy(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(2).random(shape)
    expected = 0.0
    for axis in (2, 3):
        differences = np.diff(images * 255, axis=axis)
        if differences.size:
            expected += float((differences**2).mean())
    assert float(total_variation(torch.from_numpy(images))) == pytest.approx(expected, rel=1e-12)


def test_perceptual_loss_equals_numpy() -> None:
    rng = np.random.default_rng(3)
    style, photos = rng.random((3, 16, 20)), rng.random((2, 3, 12, 10))
    pictures = rng.random((2, 3, 12, 10))
    content = style_loss = 0.0
    style_grams = {k: numpy_gram(v) for k, v in numpy_features(style, "relu2_2").items()}
    for photo, picture in zip(photos, pictures, strict=True):
        of_photo, of_picture = numpy_features(photo, "relu2_2"), numpy_features(picture, "relu2_2")
        content += float(((of_photo["relu2_1"] - of_picture["relu2_1"]) ** 2).mean()) / 2
        for layer, weight in (("relu1_2", 1.0), ("relu2_2", 0.5)):
            difference = numpy_gram(of_picture[layer]) - style_grams[layer]
            style_loss += weight * float((difference**2).mean()) / 2
    variation = sum(float((np.diff(pictures * 255, axis=a) ** 2).mean()) for a in (2, 3))

    loss = PerceptualLoss(loss_config(), torch.from_numpy(style)[None])
    found = loss(torch.from_numpy(pictures).float(), torch.from_numpy(photos).float())
    assert float(found.content) == pytest.approx(2 * content, rel=1e-4)
    assert float(found.style) == pytest.approx(3 * style_loss, rel=1e-4)
    assert float(found.tv) == pytest.approx(0.25 * variation, rel=1e-5)
    total = 2 * content + 3 * style_loss + 0.25 * variation
    assert float(found.total) == pytest.approx(total, rel=1e-4)


def several_paintings() -> tuple[list[Array], Array, PerceptualLoss]:
    rng = np.random.default_rng(5)
    styles = [rng.random((3, 16, 20)), 0.2 * rng.random((3, 24, 12))]
    photos = rng.random((3, 3, 12, 10))
    loss = PerceptualLoss(loss_config(), [torch.from_numpy(style)[None] for style in styles])
    return styles, photos, loss


def style_distance(picture: Array, style: Array) -> float:
    of_picture, of_style = (numpy_features(image, "relu2_2") for image in (picture, style))
    layers = (("relu1_2", 1.0), ("relu2_2", 0.5))
    grams = ((w, numpy_gram(of_picture[k]) - numpy_gram(of_style[k])) for k, w in layers)
    return sum(weight * float((difference**2).mean()) for weight, difference in grams)


def test_each_picture_is_compared_with_its_painting() -> None:
    styles, photos, loss = several_paintings()
    pictures = torch.from_numpy(photos).float()
    found = loss(pictures, pictures, torch.tensor([1, 0, 1]))
    pairs = zip(photos, (1, 0, 1), strict=True)
    expected = sum(style_distance(picture, styles[number]) for picture, number in pairs) / 3
    assert float(found.style) == pytest.approx(3 * expected, rel=1e-4)
    assert float(found.content) == 0


def test_balancing_makes_style_loss_of_photos_equal_for_all_paintings() -> None:
    styles, photos, loss = several_paintings()
    pictures = torch.from_numpy(photos).float()
    loss.balance_styles(pictures)
    energy = np.mean([(numpy_features(p, "relu2_1")["relu2_1"] ** 2).mean() for p in photos])
    for number, style in enumerate(styles):
        distance = np.mean([style_distance(photo, style) for photo in photos])
        factor = float(loss.style_factors[number])
        assert factor == pytest.approx(float(f"{energy / distance:.3g}"), rel=1e-6)
        same = torch.full((3,), number)
        # As far as three digits go.
        assert float(loss(pictures, pictures, same).style) == pytest.approx(3 * energy, rel=5e-3)


def test_loss_under_bf16_autocast_stays_near_float32() -> None:
    generator = torch.Generator().manual_seed(4)
    style = torch.rand(1, 3, 48, 48, generator=generator)
    photos, pictures = torch.rand(2, 1, 3, 48, 48, generator=generator)
    loss = PerceptualLoss(loss_config(style_layers={"relu4_3": 1.0}), style)
    exact = loss(pictures, photos)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = loss(pictures, photos)
    assert all(term.dtype == torch.float32 for term in rounded)
    for of_exact, of_rounded in zip(exact, rounded, strict=True):
        assert float(of_rounded) == pytest.approx(float(of_exact), rel=0.05)


def test_vgg_is_frozen_and_gradients_reach_the_picture() -> None:
    loss = PerceptualLoss(loss_config(), torch.rand(1, 3, 16, 16)).train()
    assert not loss.vgg.training
    assert not any(p.requires_grad for p in loss.vgg.parameters())
    pictures = torch.rand(1, 3, 16, 16, requires_grad=True)
    photos = torch.rand(1, 3, 16, 16, requires_grad=True)
    loss(pictures, photos).total.backward()
    assert pictures.grad is not None
    assert pictures.grad.abs().sum() > 0
    assert photos.grad is None


def test_content_branch_stops_at_its_deepest_layer() -> None:
    loss = PerceptualLoss(loss_config(style_layers={"relu4_3": 1.0}), torch.rand(1, 3, 32, 32))
    calls: dict[str, int] = {}
    for layer, convolution in loss.vgg.convolutions.items():
        convolution.register_forward_hook(
            lambda *_, layer=layer: calls.update({layer: calls.get(layer, 0) + 1})
        )
    loss(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
    assert calls["relu2_1"] == 2
    assert calls["relu2_2"] == 1
    assert calls["relu4_3"] == 1


def test_vgg_keeps_only_the_layers_needed() -> None:
    assert list(Vgg("bundled", ["relu2_1"]).convolutions) == ["relu1_1", "relu1_2", "relu2_1"]


def test_layer_names() -> None:
    assert layer_names("bundled")[-1] == "relu4_3"
    assert layer_names("vgg16")[-1] == "relu5_3"
    assert len(layer_names("vgg16")) == 13
    assert layer_names("vgg19")[-1] == "relu5_4"
    assert len(layer_names("vgg19")) == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style_layers": {"relu5_1": 1.0}}, "no layer 'relu5_1'; it has relu1_1, "),
        ({"content_layers": {"relu9_9": 1.0}}, "no layer 'relu9_9'"),
        ({"style_weight": -1.0}, "the style weight is -1.0"),
        ({"tv_weight": math.nan}, "the TV weight is nan"),
        ({"style_layers": {"relu1_2": math.inf}}, "weight of relu1_2 is inf"),
        ({"vgg": "vgg11"}, "no VGG 'vgg11'"),
        ({"style_layers": {}, "content_layers": {}}, "at least one content or style layer"),
    ],
)
def test_bad_loss_options_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        loss_config(**changes)


def test_images_too_small_for_a_layer_are_refused() -> None:
    vgg = Vgg("bundled", ["relu4_3"])
    with pytest.raises(UsageError, match=r"relu4_1 needs images of at least 8 pixels"):
        vgg(torch.rand(1, 3, 7, 64), ["relu4_3"])


class TestTorchvisionWeights:
    """The published weights, up to the download itself: a file URL stands for the server."""

    @pytest.fixture
    def published(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Random weights of VGG-19's shapes to relu2_1, published under their own hash."""
        generator = torch.Generator().manual_seed(0)
        state: dict[str, torch.Tensor] = {"classifier.0.weight": torch.zeros(2, 2)}
        n_in = 3
        for index, n_out in ((0, 64), (2, 64), (5, 128)):
            shape = (n_out, n_in, 3, 3)
            state[f"features.{index}.weight"] = 0.1 * torch.randn(shape, generator=generator)
            state[f"features.{index}.bias"] = torch.randn(n_out, generator=generator)
            n_in = n_out
        plain = tmp_path / "vgg19.pth"
        torch.save(state, plain)
        digest = hashlib.sha256(plain.read_bytes()).hexdigest()
        path = plain.rename(tmp_path / f"vgg19-{digest[:8]}.pth")
        monkeypatch.setattr(vgg, "_published_url", lambda _: path.as_uri())
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
        return path

    def test_first_use_downloads_then_the_file_is_reused(self, published: Path) -> None:
        network = Vgg("vgg19", ["relu2_1"])
        stored = torch.load(published, weights_only=True)
        weight = network.convolutions["relu2_1"].weight
        assert torch.equal(weight, stored["features.5.weight"])
        image = torch.rand(1, 3, 4, 4)
        mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        torch.testing.assert_close(network.preprocess(image), (image - mean) / deviation)
        published.unlink()
        assert torch.equal(Vgg("vgg19", ["relu2_1"]).convolutions["relu2_1"].weight, weight)

    def test_offline_error_names_url_path_and_hash(self, published: Path, tmp_path: Path) -> None:
        published.unlink()
        with pytest.raises(WeightsError) as caught:
            Vgg("vgg19", ["relu1_1"])
        message = str(caught.value)
        assert published.as_uri() in message
        assert str(tmp_path / "hub" / "checkpoints" / published.name) in message
        assert f"SHA-256 begins with {published.stem[-8:]}" in message

    def test_a_download_with_another_hash_is_refused(self, published: Path, tmp_path: Path) -> None:
        published.write_bytes(published.read_bytes() + b"x")
        with pytest.raises(WeightsError, match="could not be downloaded"):
            Vgg("vgg19", ["relu1_1"])
        assert not list((tmp_path / "hub" / "checkpoints").iterdir())

    def test_a_changed_file_is_refused(self, published: Path, tmp_path: Path) -> None:
        place = tmp_path / "hub" / "checkpoints" / published.name
        place.parent.mkdir(parents=True)
        place.write_bytes(b"something else")
        with pytest.raises(WeightsError, match="is not the file that torchvision published"):
            Vgg("vgg19", ["relu1_1"])


def test_torchvision_publishes_what_the_loader_expects() -> None:
    for name in ("vgg16", "vgg19"):
        filename = vgg._published_url(name).rsplit("/", 1)[-1]  # type: ignore[arg-type]
        stem, digest = filename.removesuffix(".pth").split("-")
        assert stem == name
        assert len(digest) == 8
        assert int(digest, 16) > 0
