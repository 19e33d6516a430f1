"""Optimisation of a picture as a library: objective, descent, steps."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fast_style import UsageError, optimize_image, optimize_steps
from fast_style.images import read_image, resize_long_side, resize_to
from fast_style.models.perceptual_loss import LossConfig, gram_matrix
from fast_style.models.vgg import Vgg
from fast_style.optimization import descent
from fast_style.optimization.api import make_optimization
from fast_style.optimization.descent import make_descent
from fast_style.optimization.objective import Objective
from fast_style.optimization.tensors import to_tensor
from tests import float64_loss
from tests.training_photos import make_painting

QUICK = {"size": 48, "precision": "fp32", "device": "cpu"}
LAYERS = {"content_layers": "relu2_2", "style_layers": "relu1_2,relu2_2"}


@pytest.fixture(scope="module")
def photo(astronaut):
    return resize_long_side(read_image(astronaut).pixels, 64)


@pytest.fixture(scope="module")
def painting(tmp_path_factory):
    path = make_painting(tmp_path_factory.mktemp("painting") / "painting.png")
    return read_image(path).pixels


class TestObjective:
    def test_losses_equal_the_formulas_in_float64(self, photo, painting):
        # Two paintings with masks, two content layers, uneven weights and TV together.
        second = np.ascontiguousarray(painting[::-1, ::-1, ::-1])
        left = np.zeros(photo.shape[:2], np.float32)
        left[:, :40] = 1
        masks = [left, (1 - left) * np.float32(0.7)]
        layers = {
            "content_layers": {"relu3_1": 0.5, "relu4_1": 2.0},
            "style_layers": {"relu1_1": 1.0, "relu2_1": 3.0, "relu4_3": 0.25},
            "content_weight": 1.5,
            "style_weight": 7.0,
            "tv_weight": 3.0,
        }
        config = LossConfig("bundled", **layers)
        picture = np.random.default_rng(0).integers(0, 256, photo.shape, np.uint8)
        vgg = Vgg("bundled", [*config.content_layers, *config.style_layers])
        objective = Objective(
            config,
            vgg,
            to_tensor(photo, "cpu"),
            [to_tensor(p, "cpu") for p in (painting, second)],
            [1.0, 3.0],
            [torch.from_numpy(mask)[None, None] for mask in masks],
        )
        found = objective(to_tensor(picture, "cpu"))._asdict()
        expected = float64_loss.losses(
            picture, photo, [painting, second], weights=[1, 3], masks=masks, **layers
        )
        assert {k: float(v) for k, v in found.items()} == pytest.approx(expected, rel=1e-4)

    def test_unchanged_photo_has_the_style_loss_of_the_weight(self, photo, painting):
        run = make_optimization(photo, painting, style_weight=40, **QUICK)
        losses = run.measure()
        grey = float64_loss.features(resize_long_side(photo, 48))["relu4_2"]
        assert losses.style == pytest.approx(40 * float((grey**2).mean()), rel=1e-4)
        assert losses.content == 0

    def test_losses_are_finite_if_photo_and_painting_are_the_same(self, photo):
        run = make_optimization(photo, photo, iterations=2, **QUICK)
        steps = list(run.steps())
        assert np.isfinite(steps[-1].losses.total)

    @settings(deadline=None)
    @given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
    def test_masked_gram_is_a_weighted_mean(self, height, width, seed):
        random = np.random.default_rng(seed)
        features = torch.from_numpy(random.normal(size=(1, 3, height, width)))
        mask = torch.from_numpy(random.uniform(0.01, 1, (1, 1, height, width)))
        expected = torch.zeros(3, 3, dtype=torch.float64)
        for y in range(height):
            for x in range(width):
                f = features[0, :, y, x]
                expected += mask[0, 0, y, x] * torch.outer(f, f)
        expected /= 3 * mask.sum()
        torch.testing.assert_close(gram_matrix(features, mask)[0], expected)
        ones = torch.ones_like(mask)
        torch.testing.assert_close(gram_matrix(features, ones), gram_matrix(features))


@pytest.fixture(scope="module")
def objective(photo, painting):
    config = LossConfig("bundled", {"relu2_2": 1.0}, {"relu1_2": 1.0, "relu2_2": 1.0}, 1, 40, 0)
    tensors = [to_tensor(pixels, "cpu") for pixels in (photo, painting)]
    return Objective(config, Vgg("bundled", ["relu2_2"]), tensors[0], tensors[1:], [1.0])


class TestDescent:
    def test_loss_falls_as_fast_as_in_a_plain_loop(self, objective, photo):
        """Compare the losses of clipped pictures, iteration by iteration."""
        start = to_tensor(photo, "cpu")

        def clipped_loss(picture):
            with torch.no_grad():
                return float(objective(picture.clamp(0, 1)).total)

        plain = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([plain], max_iter=1)

        def closure():
            optimizer.zero_grad()
            loss = objective(plain).total / objective.unit
            loss.backward()
            return loss

        descent = make_descent("lbfgs", objective, start, 1.0, objective.unit)
        first, best_plain = clipped_loss(start), float("inf")
        for iteration in range(1, 16):
            optimizer.step(closure)
            descent.step()
            best_plain = min(best_plain, clipped_loss(plain.detach()))
            if iteration % 5 == 0:
                assert clipped_loss(descent.picture.detach()) <= best_plain
        assert clipped_loss(descent.picture.detach()) < first / 10
        # The end of a step is not evaluated again, so the line search costs little.
        assert descent.evaluations <= 1.4 * 15

    def test_smoothing_damps_fine_patterns_alone(self):
        even = torch.full((1, 3, 33, 40), 0.3)
        torch.testing.assert_close(descent._smooth(even, 0.6), even)
        rows, columns = torch.meshgrid(torch.arange(33), torch.arange(40), indexing="ij")
        finest = (1.0 - 2 * ((rows + columns) % 2)).expand(1, 3, -1, -1)
        torch.testing.assert_close(descent._smooth(finest, 0.6), 0.4 * finest, atol=1e-3, rtol=0)
        wave = torch.sin(columns * (2 * torch.pi / 40)).expand(1, 3, -1, -1)
        inside = (descent._smooth(wave, 0.6) / wave)[..., 8:14]
        assert 0.9 < inside.min() < inside.max() < 1
        # A picture that is smaller than the kernel.
        assert descent._smooth(torch.ones(1, 3, 3, 4), 0.6).shape == (1, 3, 3, 4)

    def test_smoothed_steps_lower_the_loss_faster_at_first(self, objective, photo, monkeypatch):
        start, found = to_tensor(photo, "cpu"), {}
        for enlarged in (False, True):  # an enlarged start is not smoothed
            descent = make_descent(
                "lbfgs", objective, start, 1.0, objective.unit, enlarged=enlarged
            )
            for _ in range(5):
                found[enlarged] = float(descent.step().total)
        assert found[False] < found[True]

    @pytest.mark.parametrize("name", ["lbfgs", "adam"])
    def test_reports_the_losses_of_the_current_picture(self, objective, photo, name):
        start = to_tensor(photo, "cpu")
        descent = make_descent(name, objective, start, 1.0 if name == "lbfgs" else 0.02, 1e4)
        for _ in range(4):
            reported = descent.step()
        with torch.no_grad():
            expected = objective(descent.picture)
        assert float(reported.total) == pytest.approx(float(expected.total), rel=1e-5)
        assert torch.equal(start, to_tensor(photo, "cpu"))


def grain_of(pixels):
    """Return the root mean square, in levels, of frequencies above a quarter per pixel."""
    spectrum = np.fft.fft2(np.asarray(pixels, float).mean(axis=2))
    fast = [np.abs(np.fft.fftfreq(side)) > 0.25 for side in spectrum.shape]
    power = np.abs(spectrum[fast[0][:, None] | fast[1]]) ** 2
    return np.sqrt(power.sum()) / spectrum.size


class TestSteps:
    def test_grain_of_a_small_painting_is_not_painted_pixel_by_pixel(self, astronaut):
        """The painting is noise at half the picture's size; its grain must stay that coarse."""
        grain = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
        options = {"size": 96, "iterations": 4, "precision": "fp32", "device": "cpu", **LAYERS}
        found = optimize_image(astronaut, grain, scales=2, **options)
        # If the painting kept its 48 pixels: 2.2 times the grain of the enlarged painting.
        assert grain_of(found) < 1.8 * grain_of(resize_to(grain, 96, 96))

    def test_can_be_stopped_after_any_step(self, photo, painting):
        steps = optimize_steps(photo, painting, iterations=50, **QUICK, **LAYERS)
        for step in steps:
            if step.iteration == 3:
                break
        picture = step.picture()
        assert picture.size == (48, 48)
        assert step.iterations == 50
        assert step.seconds_left > 0
        assert not np.array_equal(np.asarray(picture), resize_to(photo, 48, 48))

    def test_optimize_image_returns_the_last_steps_picture(self, photo, painting):
        options = {"iterations": 4, **QUICK, **LAYERS}
        steps = []
        image = optimize_image(photo, [painting], on_step=steps.append, **options)
        *_, last = optimize_steps(photo, painting, **options)
        assert np.array_equal(np.asarray(image), np.asarray(last.picture()))
        assert [step.iteration for step in steps] == [1, 2, 3, 4]
        assert steps[-1].losses == last.losses

    def test_each_doubling_of_the_size_halves_the_iterations(self, photo, painting):
        run = make_optimization(
            photo, painting, size=64, scales=2, iterations=4, precision="fp32", **LAYERS
        )
        steps = list(run.steps())
        assert [(s.width, s.iteration) for s in steps] == [
            (32, 1),
            (32, 2),
            (32, 3),
            (32, 4),
            (64, 5),
            (64, 6),
        ]
        assert steps[0].photo().pixels.shape == (64, 64, 3)
        assert [row["iteration"] for row in run.history] == [1, 2, 3, 4, 5, 6]

    def test_stops_when_the_loss_hardly_falls(self, photo, painting):
        options = {**QUICK, **LAYERS, "iterations": 20, "size": 32}
        few = list(optimize_steps(photo, painting, tolerance=1, **options))
        assert len(few) == 11
        many = list(optimize_steps(photo, painting, tolerance=0, **options))
        assert len(many) == 20

    def test_coarse_to_fine_is_better_than_the_full_size_alone(self, astronaut, painting):
        # Both have two iterations at the full size; the coarse ones cost a quarter each.
        options = {"size": 128, "precision": "fp32", "device": "cpu", **LAYERS}
        coarse = make_optimization(astronaut, painting, scales=2, iterations=8, **options)
        alone = make_optimization(astronaut, painting, scales=1, iterations=4, **options)
        for run in (coarse, alone):
            assert len(list(run.steps())) in (4, 12)
        assert coarse.measure().total < alone.measure().total

    def test_start_may_be_a_model(self, photo, painting, model):
        run = make_optimization(photo, painting, init=model, iterations=1, **QUICK, **LAYERS)
        assert [stage.width for stage in run.levels] == [48]
        assert len(list(run.steps())) == 1

    def test_alpha_is_kept(self, photo, painting):
        alpha = np.full((*photo.shape[:2], 1), 99, np.uint8)
        image = optimize_image(
            np.concatenate([photo, alpha], 2), painting, iterations=1, **QUICK, **LAYERS
        )
        assert image.mode == "RGBA"
        assert set(np.asarray(image)[..., 3].ravel()) == {99}

    def test_non_finite_loss_is_an_error(self, photo, painting):
        with pytest.raises(UsageError, match=r"infinite or undefined at iteration 1: give smaller"):
            list(optimize_steps(photo, painting, style_weight=1e38, **QUICK, **LAYERS))


def test_each_step_has_a_picture(photo, painting):
    for step in optimize_steps(photo, painting, iterations=1, **QUICK, **LAYERS):
        buffer = io.BytesIO()
        step.picture().save(buffer, "PNG")
        assert Image.open(buffer).size == (48, 48)
