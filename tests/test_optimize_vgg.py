"""`fast-style optimize` with torchvision's VGGs, and failures of their download."""

import hashlib
from pathlib import Path

import pytest
import torch

from fast_style.models import vgg
from fast_style.models.vgg import Vgg
from tests.commands import failure
from tests.test_optimize_command import QUICK, optimized, place

__all__ = ["place"]


def torchvision_features(name):
    """The convolutions of torchvision's network, with random weights."""
    from torchvision.models import vgg as networks

    torch.manual_seed(0)
    return networks.make_layers(networks.cfgs["D" if name == "vgg16" else "E"])


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Write weights to the download folder under a name with their hash, as torchvision does."""

    def publish(name, network):
        folder = tmp_path / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        path = folder / name
        if network is not None:
            state = {f"features.{key}": value for key, value in network.state_dict().items()}
            # As in the real file, which has the classifier too.
            torch.save({**state, "classifier.0.weight": torch.zeros(2, 2)}, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8] if network else "00000000"
        final = path.with_name(f"{name}-{digest}.pth")
        if network is not None:
            path.rename(final)
        # No server listens there.
        monkeypatch.setattr(vgg, "_published_url", lambda _: f"http://127.0.0.1:9/{final.name}")
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
        return final

    return publish


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_torchvisions_vggs_are_used(place, published, name):
    """Random weights of the real shapes, in the folder of the download."""
    network = torchvision_features(name)
    published(name, network)
    whole = ("--style-layers", "relu1_2,relu2_2,relu3_3,relu4_3,relu5_1")
    document = optimized("--vgg", name, *whole, "--content-layers", "relu4_2")
    assert document["options"]["vgg"] == name
    still = ("--optimizer", "adam", "--learning-rate", 1e-9)
    start = optimized("--vgg", name, *whole, "--content-layers", "relu4_2", *still)
    assert document["losses"]["total"] < 0.9 * start["losses"]["total"]
    # The features are those of torchvision's own network.
    picture = torch.rand((1, 3, 48, 48), generator=torch.Generator().manual_seed(0))
    seen = Vgg(name, ["relu5_1"])(picture, ["relu1_2", "relu3_3", "relu5_1"])
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    x = (picture - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1)
    expected, stage, number = {}, 1, 0
    with torch.no_grad():
        for layer in network:
            x = layer(x)
            if isinstance(layer, torch.nn.ReLU):
                number += 1
                expected[f"relu{stage}_{number}"] = x.clone()
            elif isinstance(layer, torch.nn.MaxPool2d):
                stage, number = stage + 1, 0
    for layer, features in seen.items():
        torch.testing.assert_close(features, expected[layer])


def test_failed_download(place, published):
    published("vgg19", None)
    options = ("--style-image", "painting.png", *QUICK, "-o", "out.png", "--vgg", "vgg19")
    sentence = failure("optimize", "photo.png", *options)
    assert sentence.startswith("the weights of vgg19 could not be downloaded (")
    assert sentence.endswith("or use the bundled VGG")
    assert not Path("out.png").exists()
    assert not list(Path().rglob("*.pth"))


def test_incomplete_download(place, published):
    path = published("vgg19", torchvision_features("vgg19")[:1])
    path.write_bytes(path.read_bytes()[:-1])
    options = ("--style-image", "painting.png", *QUICK, "-o", "out.png", "--vgg", "vgg19")
    sentence = failure("optimize", "photo.png", *options)
    assert "is not the file that torchvision published" in sentence


def test_offline_forbids_the_download(place, published, monkeypatch):
    path = published("vgg19", None)
    monkeypatch.setenv("FAST_STYLE_OFFLINE", "1")
    sentence = failure(
        "optimize", "photo.png", "--style-image", "painting.png", "--vgg", "vgg19", "-o", "o.png"
    )
    assert "FAST_STYLE_OFFLINE forbids downloads" in sentence
    assert str(path) in sentence
