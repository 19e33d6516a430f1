"""Training that starts from a prediction, with the photos that ship."""

import numpy as np
import pytest
from PIL import Image

from fast_style.errors import UsageError
from fast_style.images import read_image
from fast_style.models.model_file import load_model
from fast_style.styles.prediction import predict_style
from fast_style.training.config import TrainingConfig
from fast_style.training.inputs import bundled_photos, read_inputs
from fast_style.training.refine import refine_style
from fast_style.training.trainer import train


@pytest.fixture
def painting(tmp_path):
    noise = np.random.default_rng(5).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    path = tmp_path / "dots.png"
    Image.fromarray(noise).resize((112, 72), Image.Resampling.BICUBIC).save(path)
    return path


def test_photos_that_ship_are_readable_and_small():
    photos = bundled_photos()
    assert len(photos) >= 50
    assert sum(path.stat().st_size for path in photos) < 2e6
    for path in photos:
        assert min(read_image(path).pixels.shape[:2]) >= 192  # a crop of the default size fits


def test_without_options_a_run_starts_from_the_prediction(painting, tmp_path):
    config = TrainingConfig(
        style_image=painting,
        name="dots",
        steps=1,
        crop_size=32,
        style_size=64,
        learning_rate=1e-12,
        preview_every=0,
        workers=0,
        runs=tmp_path / "runs",
        models=tmp_path / "models",
    )
    assert read_inputs(config).photos == bundled_photos()
    result = train(config, quiet=True)
    model = load_model(result.model_path)
    predicted = predict_style(painting, style_size=64)
    for name, weights in predicted.weights.items():
        np.testing.assert_allclose(model.weights[name], weights, rtol=2e-3, atol=1e-4, err_msg=name)
    assert model.card.training["started_from"]["predicted"] is True
    assert model.card.training["photos"] == len(bundled_photos())


def test_refining_changes_the_prediction(painting):
    model = refine_style(painting, seconds=0.01)
    assert model.card.name == "dots"
    assert model.card.training["steps_taken"] >= 1
    predicted = predict_style(painting)
    assert any(
        np.abs(model.weights[name] - weights).max() > 1e-4
        for name, weights in predicted.weights.items()
    )


def test_refining_needs_time(painting):
    with pytest.raises(UsageError, match="seconds must be a number above 0"):
        refine_style(painting, seconds=0)
