"""`benchmarks.quality`: objective, equal iterations, tables and cards."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file, save_file

from benchmarks import quality, style_table
from benchmarks.equivalents import (
    compute_spread,
    find_equal_iteration,
    make_headlines,
    make_quality_table,
    summarize,
)
from benchmarks.lbfgs_curves import (
    DescentCurve,
)
from benchmarks.objective import (
    TRAINED,
    UNSEEN,
    MeasuredObjective,
    Terms,
    convert_to_vgg19,
    make_measures,
    read_card_loss,
    to_tensor,
)
from fast_style.errors import FastStyleError
from fast_style.models.model_file import load_model, read_card, save_model
from fast_style.models.perceptual_loss import LossConfig, PerceptualLoss
from tests.conftest import SMALLEST, make_card, make_weights

WEIGHTS = Path(quality.__file__).parents[1] / "fast_style/weights/vgg16_relu4_3_fp16.safetensors"
CONFIG = LossConfig("bundled", {"relu2_2": 2.0}, {"relu1_2": 1.0, "relu2_2": 0.5}, 1.0, 5.0, 0.1)
TRAINING = {
    "style_image": "painting.png",
    "style_size": 48,
    "vgg": "bundled",
    "content_layers": "relu1_2",
    "style_layers": "relu1_2",
    "content_weight": 1.0,
    "style_weight": 5.0,
    "tv_weight": 0.0,
}


def make_picture(seed: int, height: int = 20, width: int = 24) -> np.ndarray:
    """Make a random smooth picture."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height)))


def numpy_features(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Compute VGG features up to relu2_2 in float64."""
    weights = load_file(WEIGHTS)
    x = pixels[..., ::-1].astype(np.float64) - (103.939, 116.779, 123.68)
    x, found = x.transpose(2, 0, 1), {}
    for layer, index in (("relu1_1", 0), ("relu1_2", 2), ("relu2_1", 5), ("relu2_2", 7)):
        if layer == "relu2_1":
            c, h, w = x.shape
            x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(c, h // 2, 2, w // 2, 2).max((2, 4))
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(x, ((0, 0), (1, 1), (1, 1))), (3, 3), axis=(1, 2)
        )
        kernel = weights[f"features.{index}.weight"].astype(np.float64)
        bias = weights[f"features.{index}.bias"].astype(np.float64)
        x = np.maximum(np.einsum("chwij,ncij->nhw", windows, kernel) + bias[:, None, None], 0)
        found[layer] = x
    return found


def numpy_terms(config: LossConfig, made: np.ndarray, photo: np.ndarray, style: np.ndarray):
    ours, theirs, painting = map(numpy_features, (made, photo, style))

    def gram(features):
        rows = features.reshape(len(features), -1)
        return rows @ rows.T / features.size

    content = sum(w * np.mean((ours[k] - theirs[k]) ** 2) for k, w in config.content_layers.items())
    styles = sum(
        w * np.mean((gram(ours[k]) - gram(painting[k])) ** 2)
        for k, w in config.style_layers.items()
    )
    pixels = made.astype(np.float64)
    tv = sum(np.mean(np.diff(pixels, axis=axis) ** 2) for axis in (0, 1))
    return config.content_weight * content, config.style_weight * styles, config.tv_weight * tv


class TestObjective:
    def test_measures_equal_the_formulas(self):
        photo, made, painting = make_picture(0), make_picture(1), make_picture(2, 30, 18)
        measures = make_measures(CONFIG)
        found = MeasuredObjective(measures, painting).for_photo(photo).terms(to_tensor(made))
        assert set(found) == {TRAINED, UNSEEN}
        for name, terms in found.items():
            expected = numpy_terms(measures[name], made, photo, painting)
            assert (terms.content, terms.style, terms.tv) == pytest.approx(expected, rel=1e-3)
            assert terms.total == pytest.approx(sum(expected), rel=1e-3)
        ours = PerceptualLoss(CONFIG, to_tensor(painting))(to_tensor(made), to_tensor(photo))
        assert found[TRAINED].total == pytest.approx(float(ours.total), rel=1e-4)

    def test_minimized_loss_is_the_trained_measure(self):
        of_photo = MeasuredObjective(make_measures(CONFIG), make_picture(2)).for_photo(
            make_picture(0)
        )
        made = to_tensor(make_picture(1)).requires_grad_()
        loss = of_photo.loss(made)
        assert float(loss.detach()) == pytest.approx(of_photo.terms(made)[TRAINED].total, rel=1e-5)
        loss.backward()
        assert made.grad is not None
        assert made.grad.abs().max() > 0

    def test_pictures_are_rounded_to_8_bits(self):
        of_photo = MeasuredObjective(make_measures(CONFIG), make_picture(2)).for_photo(
            make_picture(0)
        )
        made = to_tensor(make_picture(1))
        assert of_photo.terms(made + 0.3 / 255) == of_photo.terms(made)

    def test_unseen_layers_are_not_trained_layers(self):
        unseen = make_measures(CONFIG)[UNSEEN]
        assert dict(unseen.content_layers) == {"relu2_1": 2.0}
        assert dict(unseen.style_layers) == {"relu1_1": 1.0, "relu2_1": 0.5}
        both = replace(CONFIG, style_layers={"relu1_1": 1.0, "relu1_2": 1.0})
        assert UNSEEN not in make_measures(both)

    def test_weights_are_scaled_for_vgg19(self):
        assert "VGG-19" not in make_measures(CONFIG)
        other = make_measures(CONFIG, vgg19=True)["VGG-19"]
        assert other == convert_to_vgg19(CONFIG)
        assert other.vgg == "vgg19"
        # A Gram matrix is of the square of the features, its error of the fourth power.
        ratio = other.style_weight / CONFIG.style_weight
        assert math.sqrt(ratio) == pytest.approx(other.content_weight / CONFIG.content_weight)

    def test_loss_is_read_from_a_card(self):
        config = read_card_loss({**TRAINING, "style_layers": "relu1_2,relu2_2=0.5"})
        assert dict(config.style_layers) == {"relu1_2": 1.0, "relu2_2": 0.5}
        for missing in TRAINING.keys() - {"style_image", "style_size"}:
            with pytest.raises(FastStyleError, match=missing):
                read_card_loss({k: v for k, v in TRAINING.items() if k != missing})

    def test_style_factor_is_that_of_training(self):
        painting, photo, other = make_picture(1), make_picture(2), make_picture(3)
        training = {**TRAINING, "content_layers": "relu2_2", "style_layers": "relu1_2,relu2_2"}
        trainers = PerceptualLoss(LossConfig.from_options(training), to_tensor(painting))
        trainers.balance_styles(to_tensor(make_picture(4)))
        factor = float(trainers.style_factors)
        assert not 0.5 < factor < 2
        config = read_card_loss({**training, "style_factor": factor})
        (terms,) = (
            MeasuredObjective({TRAINED: config}, painting)
            .for_photo(photo)
            .terms(to_tensor(other))
            .values()
        )
        wanted = trainers(to_tensor(other), to_tensor(photo))
        assert terms.content == pytest.approx(float(wanted.content), rel=1e-4)
        assert terms.style == pytest.approx(float(wanted.style), rel=1e-4)


def make_curve(totals: list[float], every: int = 1) -> DescentCurve:
    terms = tuple(Terms(total * 0.25, total * 0.75, 0.0) for total in totals)
    numbers = tuple(range(0, every * len(totals), every))
    return DescentCurve(numbers, numbers, {TRAINED: terms})


PHOTO = Terms(30.0, 70.0, 0.0)


class TestEqualIteration:
    def test_iteration_is_interpolated_between_records(self):
        curve = make_curve([100, 60, 20], every=2)
        equal = find_equal_iteration(curve, TRAINED, Terms(40.0, 10.0, 0.0), PHOTO)
        assert equal.iteration == pytest.approx(2.5)
        assert equal.descent == Terms(12.5, 37.5, 0.0)
        assert equal.photo == PHOTO

    def test_rising_steps_are_ignored(self):
        curve = make_curve([100, 900, math.nan, 300, 50, 70, 40])
        for total, iteration in ((75.0, 3.5), (45.0, 5.5)):
            equal = find_equal_iteration(curve, TRAINED, Terms(0, total, 0), PHOTO)
            assert equal.iteration == pytest.approx(iteration)

    def test_values_outside_the_curve(self):
        curve = make_curve([100, 60, 20])
        assert find_equal_iteration(curve, TRAINED, Terms(0, 100.0, 0), PHOTO).iteration == 0
        better = find_equal_iteration(curve, TRAINED, Terms(0, 19.0, 0), PHOTO)
        assert better.iteration == math.inf
        assert better.descent.total == 20

    @given(
        st.lists(st.floats(1, 1e6), min_size=2, max_size=30, unique=True),
        st.floats(0.5, 2e6),
        st.integers(1, 5),
    )
    def test_iteration_is_where_the_best_so_far_crosses(self, totals, value, every):
        curve = make_curve(totals, every)
        found = find_equal_iteration(curve, TRAINED, Terms(0, value, 0), PHOTO).iteration
        best = np.minimum.accumulate(totals)
        if value >= best[0]:
            assert found == 0
        elif value < best[-1]:
            assert found == math.inf
        else:
            assert np.interp(found / every, range(len(best)), best) == pytest.approx(value)
            before = math.ceil(found / every - 1e-9) - 1
            assert all(total > value for total in totals[: before + 1])


class TestFigures:
    def test_values_are_capped(self):
        found = compute_spread([10, 20, 30, math.inf, math.inf], 100)
        assert (found.lower, found.median, found.upper) == (20, 30, 100)
        assert found.text() == "30 (20->100)"
        assert compute_spread([math.inf] * 3, 50).text() == ">50 (>50->50)"

    def test_table_and_card_of_a_summary(self):
        curve = make_curve([100, 60, 20], every=10)
        photos = [
            {TRAINED: find_equal_iteration(curve, TRAINED, Terms(n, 10.0, 0.0), PHOTO)}
            for n in (20, 30, 40)
        ]
        row = summarize("scream", "tiny", 256, 20, "none", "bf16", photos, "openvino bf16")
        assert row.equal[TRAINED].median == pytest.approx(15)
        assert (row.left, row.content, row.style) == pytest.approx((0.4, 0.3, 0.1))
        assert (row.descent_content, row.descent_style) == pytest.approx((0.1, 0.3))
        head, rule, line = make_quality_table([row])
        assert head.count("|") == rule.count("|") == line.count("|")
        assert "| scream | tiny | 3 of 256 px | 15 (14-16) | 40.00% | 30.00% (10.00%) |" in line
        card = row.to_card()
        assert card["equals_iteration"] == {"median": 15.0, "quartiles": [13.8, 16.2]}
        assert card["lbfgs"].endswith("started at the photo")
        assert replace(row, start="noise").to_card()["lbfgs"].endswith("started at white noise")
        assert json.loads(json.dumps(card)) == card

    def test_headlines_are_of_the_median_style_and_the_lowest(self):
        curve = make_curve([100, 60, 20], every=10)
        rows = [
            summarize(
                name, "tiny", side, 20, "none", "bf16",
                [{TRAINED: find_equal_iteration(curve, TRAINED, Terms(n, 10.0, 0.0), PHOTO)}],
                start=start,
            )
            for name, side, n, start in (
                ("a", 256, 20, "noise"), ("b", 256, 30, "noise"), ("c", 256, 40, "noise"),
                ("d", 512, 90, "noise"), ("a", 256, 10, "photo"),
            )
        ]  # fmt: skip
        photo, noise = make_headlines(rows)
        assert photo.startswith("From the photo, 256 px: the median of 1 styles equals iteration")
        assert "the median of 3 styles equals iteration 15 (14-16), the lowest 12" in noise
        assert noise.endswith("(Johnson et al.: 50 to 100).")


class TestCard:
    def test_weights_are_not_changed(self, tmp_path):
        path = tmp_path / "a.safetensors"
        save_model(path, make_card("a", quality={"psnr": 3}), make_weights(SMALLEST))
        before = load_file(path)
        quality.write_card(path, {"photos_of_256_px": {"photos": 2}})
        after = load_file(path)
        assert before.keys() == after.keys()
        assert all(before[k].tobytes() == after[k].tobytes() for k in before)
        assert read_card(path).quality == {"psnr": 3, "photos_of_256_px": {"photos": 2}}

    def test_weights_that_are_not_float16_are_refused(self, tmp_path):
        path = tmp_path / "a.safetensors"
        save_model(path, make_card("a"), make_weights(SMALLEST))
        text = json.dumps(read_card(path).to_dict())
        save_file(load_model(path).weights, path, metadata={"fast_style": text})
        content = path.read_bytes()
        with pytest.raises(FastStyleError, match="F32"):
            quality.write_card(path, {})
        assert path.read_bytes() == content


def test_crop_square():
    wide = make_picture(0, 30, 50)
    assert np.array_equal(quality.crop_square(wide, 20), wide[5:25, 15:35])
    for height, width in ((30, 50), (50, 30), (31, 31)):
        assert quality.crop_square(make_picture(0, height, width), 64).shape == (64, 64, 3)


def test_command_writes_figures_and_cards(tmp_path, monkeypatch, capsys):
    for name, seed in (("photos/a.png", 0), ("photos/b.png", 1), ("paintings/painting.png", 2)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(make_picture(seed, 60, 80)).save(tmp_path / name)
    save_model(
        tmp_path / "style.safetensors",
        make_card("style", training=TRAINING),
        make_weights(SMALLEST),
    )
    save_model(tmp_path / "bare.safetensors", make_card("bare"), make_weights(SMALLEST))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quality, "SIDE", 32)
    monkeypatch.setattr(quality, "LARGE_SIDE", 70)
    options = "--photos photos --paintings paintings --cache cache --iterations 4 --large 1"
    models = ["style.safetensors", "bare.safetensors"]
    call = ["quality", *options.split(), "--json", "out.json", "--write-cards", "--models", *models]
    monkeypatch.setattr(sys, "argv", call)
    with pytest.raises(SystemExit) as ended:
        quality.main()
    assert ended.value.code == 3
    text, notes = capsys.readouterr()
    assert "| style | width 2, 1 blocks, nearest | 2 of 32 px |" in text
    assert "| style | width 2, 1 blocks, nearest | 1 of 70 px |" in text
    assert "bare.safetensors: left out: its painting '' is not in paintings" in notes
    assert len(list(Path("cache").glob("*.json"))) == 3

    rows = json.loads(Path("out.json").read_text())["models"]
    assert [(row["side"], row["photos"]) for row in rows] == [(32, 2), (70, 1)]
    card = read_card("style.safetensors")
    assert set(card.quality) == {"photos_of_32_px", "photos_of_70_px"}
    figure = card.quality["photos_of_32_px"]["equals_iteration"]["median"]
    assert figure == round(rows[0]["equal"][TRAINED]["median"], 1)

    Path("published").mkdir()
    stylized = quality.Stylizer("style.safetensors").stylize("photos/a.png", stroke_size=1)
    stylized.save("published/style.png")
    Image.open("photos/a.png").save("published/photo.png")
    call[-2:] = ["style.safetensors", "--start", "noise", "--large", "0"]
    call += ["--published", "published"]
    with pytest.raises(SystemExit) as ended:
        quality.main()
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "projected L-BFGS from noise" in text
    # The published picture is ours here, so that both have the same terms.
    shares = [cell.strip() for cell in text.rstrip().splitlines()[-1].split("|")[2:-1]]
    assert len(shares) == 4
    assert (shares[0], shares[2]) == (shares[1], shares[3])
    assert len(list(Path("cache").glob("*.json"))) == 5
    (row,) = json.loads(Path("out.json").read_text())["models"]
    assert row["left"] == pytest.approx(rows[0]["left"])  # of the photo's own objective still
    card = read_card("style.safetensors")
    assert set(card.quality) == {
        "photos_of_32_px",
        "photos_of_70_px",
        "photos_of_32_px_from_noise",
    }


def test_style_table():
    found = {
        "photos": 40,
        "equals_iteration": {"median": 61.6, "quartiles": [48.2, 100.0]},
        "on_unseen_layers": {"median": 100.0, "quartiles": [100.0, 100.0]},
        "lbfgs_iterations": 100,
    }
    training = {"steps_taken": 2911, "seconds": 419.7, "started_from": {"name": "base"}}
    card = make_card("a", quality={"photos_of_256_px": found}, training=training)
    head, rule, bare, style = style_table.make_style_table([(make_card("b"), 1), (card, 5432)])
    assert head.count("|") == rule.count("|") == bare.count("|") == style.count("|")
    assert bare.endswith("| 0 KB | - | - | - | - |")
    assert style.startswith("| `a` | ")
    assert style.endswith(
        "| 5 KB | 2,911 steps, 7 min, from base | 62 (48->100), 40 photos | - | >100 (>100->100) |"
    )
    assert style_table.make_gallery([card]) == [
        "| style |  | painting |",
        "|---|---|---|",
        "| `a` | ![](../docs/styles/a.jpg) | *Wheat Field with Cypresses*, Vincent van Gogh, 1889 "
        "(public domain) |",
    ]
