"""Training a predictor: its inputs, a whole run, resuming, the file that it writes."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from fast_style.errors import FastStyleError, TrainingDataError, UsageError, WeightsError
from fast_style.images import read_image, resize_long_side
from fast_style.models.config import norm_layers
from fast_style.models.model_file import save_model
from fast_style.models.perceptual_loss import LossConfig, PerceptualLoss
from fast_style.models.predictor import BIAS_UNIT, PREDICTOR_VARIABLE, load_predictor
from fast_style.styles.prediction import predict_style
from fast_style.training.config import TrainingConfig
from fast_style.training.predictor.augmentation import random_view
from fast_style.training.predictor.initialization import choose_predictor_init, start_predictor
from fast_style.training.predictor.inputs import read_predictor_inputs, weigh_paintings
from fast_style.training.predictor.lightning_module import PredictorModule
from fast_style.training.predictor.objective import PredictorObjective
from fast_style.training.trainer import TrainingResult, train
from tests.commands import failure
from tests.conftest import SMALLEST, make_card, make_weights
from tests.test_training import make_config

LAYERS = "relu1_2,relu2_2,relu3_3,relu4_3"


def make_paintings(folder: Path, count: int = 4) -> Path:
    """Write seeded noise with strokes of several lengths, as small paintings."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    for number in range(count):
        noise = rng.integers(0, 256, (8 + 3 * number, 10, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((72, 56), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.png")
    return folder


def make_predictor_config(folder: Path, **changes: Any) -> TrainingConfig:
    if not (folder / "paintings").exists():
        make_paintings(folder / "paintings")
    values: dict[str, Any] = {
        "style_image": folder / "paintings",
        "predictor": True,
        "init": "base",
        "style_size": 32,
        "style_layers": LAYERS,
        "preview_every": 0,
        "schedule": "constant",
    }
    return make_config(folder, **(values | changes))


class ModuleKeeper(pl.Callback):
    """Keeps the module of a run."""

    module: PredictorModule

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, PredictorModule)
        self.module = pl_module


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[TrainingConfig, TrainingResult, Any]:
    """A run of four steps with previews; not to be changed."""
    config = make_predictor_config(tmp_path_factory.mktemp("run"), preview_every=4)
    keeper = ModuleKeeper()
    return config, train(config, quiet=True, callbacks=[keeper]), keeper.module


def test_prediction_from_the_file_equals_the_torch_module(
    finished: tuple[TrainingConfig, TrainingResult, PredictorModule],
) -> None:
    config, result, module = finished
    assert result.model_path == config.run_folder / "waves.safetensors"
    predictor = load_predictor(result.model_path)
    assert (predictor.network, predictor.style_size) == (config.network, 32)
    path = config.style_image / "0.png"
    model = predict_style(path, cache=False, predictor=predictor)

    pixels = resize_long_side(read_image(path).pixels, 32, enlarge=True)
    painting = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float() / 255
    with torch.no_grad():
        average = copy.deepcopy(module.average).eval()
        parameters = average.predictor(average.descriptor(module.objective.describe(painting)))
        photo = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
        stylized = average.stylize(photo, parameters)
    expected = predictor.fold(parameters[0].numpy())
    for name, weights in model.weights.items():
        scale = BIAS_UNIT if name == "output.bias" else max(1.0, np.abs(expected[name]).max())
        assert np.abs(weights - expected[name]).max() <= 0.02 * scale, name
    # The folded network computes what the module with predicted norms computes.
    average.network.load_state_dict({k: torch.from_numpy(v) for k, v in expected.items()})
    for norm in average.network.norms().values():
        norm.affine = None
    with torch.no_grad():
        torch.testing.assert_close(average.network(photo), stylized, atol=2e-3, rtol=0)


def test_file_preview_and_card_of_a_run(
    finished: tuple[TrainingConfig, TrainingResult, PredictorModule],
) -> None:
    config, result, module = finished
    assert result.model_path is not None
    about = load_predictor(result.model_path).training
    assert (about["paintings"], about["paintings_held_out"], about["samples"]) == (3, 1, 8)
    assert about["started_from"]["name"] == "base-tiny"
    assert 0 < about["unseen_share"] < 10
    assert result.losses["share"] > 0
    # One column for the photo and one for the painting that is held out.
    with Image.open(config.run_folder / "previews" / "step-000004.jpg") as sheet:
        assert sheet.size == (512, 512)
    assert module.pool.reader.files == sorted(config.style_image.glob("[123].png"))


def test_predictor_of_the_environment_is_used(
    finished: tuple[TrainingConfig, TrainingResult, PredictorModule],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, result, _ = finished
    monkeypatch.setenv(PREDICTOR_VARIABLE, str(result.model_path))
    model = predict_style(config.style_image / "1.png")
    assert model.card.network == config.network
    assert model.card.training["style_size"] == 32
    monkeypatch.delenv(PREDICTOR_VARIABLE)
    assert predict_style(config.style_image / "1.png").card.network != config.network


def test_resume_continues_exactly(
    finished: tuple[TrainingConfig, TrainingResult, PredictorModule], tmp_path: Path
) -> None:
    keeper = ModuleKeeper()
    train(make_predictor_config(tmp_path, steps=2), quiet=True)
    result = train(make_predictor_config(tmp_path, resume=True), quiet=True, callbacks=[keeper])
    assert result.steps == 4
    whole, resumed = finished[2].state_dict(), keeper.module.state_dict()
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0, msg=name)
    # The running average lags behind all trained weights: both were trained and restored.
    for part in ("predictor.first.weight", "predictor.start", "network.output.weight"):
        assert not torch.equal(whole[f"model.{part}"], whole[f"average.{part}"])


def test_training_continues_from_another_predictor(
    finished: tuple[TrainingConfig, TrainingResult, PredictorModule], tmp_path: Path
) -> None:
    _, result, _ = finished
    config = make_predictor_config(
        tmp_path, init=str(result.model_path), steps=1, learning_rate=1e-9
    )
    again = train(config, quiet=True)
    assert again.model_path is not None
    first, second = load_predictor(result.model_path), load_predictor(again.model_path)
    assert second.training["started_from"]["paintings"] == 3
    for name, value in first.constants.items():
        np.testing.assert_allclose(second.constants[name], value, rtol=1e-3, atol=1e-4)
    with pytest.raises(UsageError, match="is tiny, and standard is to be trained"):
        train(make_predictor_config(tmp_path, name="x", size="standard", init=config.init))


def test_prediction_as_start_needs_the_same_network(tmp_path: Path) -> None:
    tiny = choose_predictor_init(make_predictor_config(tmp_path, init="prediction"))
    assert tiny.init == "base"
    standard = make_predictor_config(tmp_path, init="prediction", size="standard")
    assert choose_predictor_init(standard).init == "prediction"
    model, origin, unfitted = start_predictor(standard)
    assert (origin or {})["name"] == "predictor"
    assert not unfitted
    shipped = load_predictor()
    np.testing.assert_array_equal(
        model.predictor.start.detach().numpy(), shipped.constants["predictor.start"]
    )


def test_losses_are_those_of_the_perceptual_loss() -> None:
    """A painting's balance factor and its losses agree with `PerceptualLoss`."""
    options = TrainingConfig(style_image=Path("x"), name="x").to_dict()
    config = LossConfig.from_options(options)
    generator = torch.Generator().manual_seed(0)
    photos, painting = (torch.rand(3, 3, 32, 32, generator=generator) for _ in range(2))
    ours, theirs = PredictorObjective(config, photos), PerceptualLoss(config, painting[:1])
    theirs.balance_styles(photos)
    statistics = ours.describe(painting[:1])
    factor = ours.style_factors(statistics.grams)
    torch.testing.assert_close(factor, theirs.style_factors, rtol=6e-3, atol=0)
    pictures = photos.flip(3)
    found = ours(pictures, photos, statistics.grams, theirs.style_factors)
    expected = theirs(pictures, photos)
    for name in ("total", "content", "style"):
        torch.testing.assert_close(getattr(found, name).mean(), getattr(expected, name))


def test_views_vary_and_are_decided_by_the_generator() -> None:
    generator = torch.Generator().manual_seed(0)
    painting = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8, generator=generator)
    views = [random_view(painting, 64, np.random.default_rng(k)) for k in range(40)]
    for number, view in enumerate(views):
        assert {*view.shape[2:]} <= {32, 48, 64}
        assert 0 <= view.min() <= view.max() <= 1
        assert torch.equal(view, random_view(painting, 64, np.random.default_rng(number)))
    assert len({view.shape for view in views}) > 2
    # A view and its mirror image may have the same mean.
    assert len({float(view.mean()) for view in views}) > 30


def test_kinds_are_weighted_by_the_root_of_their_number(tmp_path: Path) -> None:
    files = [tmp_path / "oil" / f"{n}.png" for n in range(9)]
    files += [tmp_path / "print" / "deep" / "x.png"]
    weights = weigh_paintings(files, tmp_path)
    np.testing.assert_allclose([weights[:9].sum(), weights[9]], [0.75, 0.25])
    flat = weigh_paintings(files[:9], tmp_path / "oil")
    np.testing.assert_allclose(flat, np.full(9, 1 / 9))


def test_paintings_to_hold_out(tmp_path: Path) -> None:
    make_paintings(tmp_path / "paintings", 41)
    inputs = read_predictor_inputs(make_predictor_config(tmp_path))
    assert (len(inputs.paintings), len(inputs.unseen)) == (38, 3)
    assert not set(inputs.paintings) & set(inputs.unseen)
    own = make_paintings(tmp_path / "unseen", 2)
    inputs = read_predictor_inputs(make_predictor_config(tmp_path, preview_paintings=own))
    assert (len(inputs.paintings), len(inputs.unseen)) == (41, 2)


@pytest.mark.parametrize(
    ("count", "changes", "message"),
    [
        (1, {}, "a predictor needs at least 3 paintings, better some hundred, and there are 1"),
        (0, {}, "there are no paintings below"),
        (4, {"style_image": "paintings/0.png"}, "is a file; a predictor needs a folder"),
        (4, {"style_image": "nowhere"}, "is not there; a predictor needs a folder"),
        (4, {"preview_paintings": "nowhere"}, "--preview-paintings"),
        (4, {"vgg": "vgg19"}, "a predictor describes paintings by the bundled VGG"),
        (4, {"style_weight": 0.0}, "a predictor needs a weight above 0"),
        (4, {"predictor": False, "preview_paintings": "."}, "belongs to --predictor"),
    ],
)
def test_bad_input_is_refused(
    tmp_path: Path, count: int, changes: dict[str, Any], message: str
) -> None:
    make_paintings(tmp_path / "paintings", count)
    paths = {k: tmp_path / v for k, v in changes.items() if isinstance(v, str) and k != "vgg"}
    with pytest.raises((TrainingDataError, UsageError)) as caught:
        train(make_predictor_config(tmp_path, **(changes | paths)), quiet=True)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_command_refuses_a_file_in_one_sentence(tmp_path: Path) -> None:
    painting = make_paintings(tmp_path / "paintings") / "0.png"
    arguments = ["train", "--style-image", str(painting), "--name", "x", "--predictor"]
    assert "a predictor needs a folder of paintings" in failure(*arguments)


def test_unreadable_paintings_are_replaced(tmp_path: Path) -> None:
    make_paintings(tmp_path / "paintings")
    (tmp_path / "paintings" / "2.png").write_bytes(b"no picture")
    assert train(make_predictor_config(tmp_path, steps=1), quiet=True).steps == 1
    for path in (tmp_path / "paintings").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(TrainingDataError, match="20 paintings in a row could not be read"):
        train(make_predictor_config(tmp_path, steps=1, overwrite=True), quiet=True)


@pytest.mark.parametrize("damage", ["missing", "text", "style", "shape", "not finite"])
def test_file_that_is_no_predictor_is_refused(tmp_path: Path, damage: str) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "some.safetensors"
    if damage == "text":
        path.write_text("no predictor")
    elif damage == "style":
        save_model(path, make_card(), make_weights(SMALLEST))
    elif damage != "missing":
        from safetensors import safe_open

        from tests.commands import CHECKOUT

        with safe_open(CHECKOUT / "fast_style/weights/predictor.safetensors", "numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            card = file.metadata()
        bias = tensors["predictor.last.bias"]
        tensors["predictor.last.bias"] = bias[1:] if damage == "shape" else bias * np.nan
        save_file(tensors, path, card)
    with pytest.raises(WeightsError, match=r"some\.safetensors") as caught:
        load_predictor(path)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, FastStyleError)
    assert norm_layers(load_predictor().network)  # the one that ships is not affected
