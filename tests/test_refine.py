"""Training that starts from a prediction, with the photos that ship."""

import sys

import numpy as np
import pytest
from PIL import Image

from fast_style.errors import UsageError
from fast_style.images import read_image
from fast_style.inference.stylizer import Stylizer
from fast_style.models.model_file import load_model
from fast_style.styles.prediction import predict_style
from fast_style.training.config import TrainingConfig
from fast_style.training.inputs import bundled_photos, read_inputs, read_paintings
from fast_style.training.refine import refine_style
from fast_style.training.trainer import train
from tests.commands import failure, invoke
from tests.conftest import STYLE


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


def test_refining_reports_steps_and_ends_when_asked_to(painting):
    seen = []
    photo = np.random.default_rng(2).integers(0, 256, (40, 64, 3), dtype=np.uint8)

    def report(step):
        seen.append((step.number, step.progress, step.losses, step.stylize(photo)))
        return len(seen) == 2

    model = refine_style(painting, seconds=600, on_step=report)
    assert model.card.training["steps_taken"] == 2
    assert [number for number, *_ in seen] == [1, 2]
    assert 0 < seen[0][1] < seen[1][1] < 1
    assert seen[1][2] == pytest.approx(
        {name: model.card.training["final_losses"][name] for name in ("total", "content", "style")}
    )
    assert not np.array_equal(seen[0][3], seen[1][3])
    # The last picture is the model's own; the weights in the file are rounded to float16.
    wanted = np.asarray(Stylizer(model, engine="torch", precision="fp32").stylize(photo), np.int16)
    assert np.abs(wanted - seen[1][3]).mean() < 1


def test_refining_needs_time(painting):
    with pytest.raises(UsageError, match="seconds must be a number above 0"):
        refine_style(painting, seconds=0)


def test_the_command_refines_once_and_keeps_it(workplace, painting, astronaut, monkeypatch):
    arguments = ["stylize", astronaut, "--style", painting, "--refine", "0.01", "--size", "64"]
    first = invoke(*arguments, "-o", "first.png")
    assert first.code == 0, first.err
    monkeypatch.setitem(sys.modules, "fast_style.training.refine", None)  # not a second time
    second = invoke(*arguments, "-o", "second.png")
    assert second.code == 0, second.err
    np.testing.assert_array_equal(Image.open("first.png"), Image.open("second.png"))


def test_only_pictures_are_refined(workplace, astronaut):
    sentence = failure(
        "stylize", astronaut, "--style", STYLE, "--refine", 1, "-o", "out.png", code=2
    )
    assert sentence.startswith("--refine needs a style that is a picture's file")


def test_a_picture_is_added_as_a_style(workplace, painting, monkeypatch, tmp_path):
    monkeypatch.setenv("FAST_STYLE_MODELS", str(tmp_path / "mine"))
    added = invoke("models", "add", painting, "--name", "spots")
    assert added.code == 0, added.err
    model = load_model(tmp_path / "mine" / "spots.safetensors")
    assert (model.card.name, model.card.training["predicted"]) == ("spots", True)
    assert model.card.thumbnail is not None
    assert model.card.fingerprint
    assert "exists" in failure("models", "add", painting, "--name", "spots")


def test_bulk_takes_a_picture_for_a_style(workplace, painting, astronaut):
    (workplace / "in").mkdir()
    Image.open(astronaut).resize((40, 48)).save(workplace / "in" / "a.png")
    result = invoke("bulk", "in", "-o", "out", "--style", painting, "--runner", "local")
    assert result.code == 0, result.err
    expected = Stylizer(predict_style(painting)).stylize("in/a.png")
    difference = np.asarray(Image.open("out/a.png"), int) - np.asarray(expected, int)
    assert np.abs(difference).mean() < 1  # float16 weights on the way


def test_hidden_colours_are_not_learnt(painting, tmp_path):
    photo = np.asarray(Image.open(painting).convert("RGB"))
    for hidden in (0, 255):
        rgba = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
        rgba[:, 50:] = (hidden, hidden, hidden, 0)
        Image.fromarray(rgba).save(tmp_path / f"cut-{hidden}.png")
    first, second = (read_paintings(tmp_path / f"cut-{n}.png")[f"cut-{n}"] for n in (0, 255))
    np.testing.assert_array_equal(first, second)
    Image.new("RGBA", (40, 40), (9, 9, 9, 0)).save(tmp_path / "ghost.png")
    with pytest.raises(UsageError, match=r"ghost\.png is wholly transparent"):
        read_paintings(tmp_path / "ghost.png")
