"""Optimisation of a picture: planned sizes, wrong input, memory estimate."""

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fast_style
from fast_style import ImageTooLargeError, UsageError
from fast_style.optimization import memory
from fast_style.optimization.api import make_optimization
from fast_style.optimization.config import (
    SMALLEST,
    OptimizeConfig,
    PyramidLevel,
    painting_side,
    parse_painting,
    plan_levels,
)
from fast_style.optimization.masks import read_mask
from fast_style.optimization.tensors import to_tensor
from tests.test_optimization import QUICK, painting, photo

__all__ = ["painting", "photo"]


class TestPlanning:
    @settings(deadline=None)
    @given(
        st.integers(SMALLEST, 5000),
        st.integers(SMALLEST, 5000),
        st.integers(SMALLEST, 4000),
        st.integers(1, 400),
    )
    def test_planned_sizes_and_iterations(self, height, width, size, iterations):
        config = OptimizeConfig(size=size, iterations=iterations)
        full = min(size, max(height, width))
        if min(height, width) * full / max(height, width) < SMALLEST:
            with pytest.raises(UsageError, match="has a side below 32 pixels"):
                plan_levels(height, width, config)
            return
        stages = plan_levels(height, width, config)
        assert max(stages[-1].height, stages[-1].width) == min(size, max(height, width))
        for before, after in pairwise(stages):
            assert after.height == pytest.approx(2 * before.height, abs=1.5)
            assert after.iterations <= before.iterations
        assert all(min(s.height, s.width) >= SMALLEST - 1 for s in stages)
        assert stages[0].iterations == iterations
        assert all(stage.iterations >= 1 for stage in stages)

    def test_networks_picture_is_optimised_at_full_size_alone(self):
        config = OptimizeConfig(size=1024)
        assert [s.width for s in plan_levels(1024, 1024, config)] == [256, 512, 1024]
        assert [s.width for s in plan_levels(1024, 1024, config, from_network=True)] == [1024]

    @pytest.mark.parametrize(
        ("picture", "painting", "scale", "side"),
        [
            (512, 1024, 1, 512),
            (1024, 1024, 1, 1024),
            # Beyond its own size, three quarters of the picture's octaves.
            (2048, 512, 1, 512 * 2**1.5),
            (8192, 512, 1, 4096),
            (512, 1024, 0.5, 256),
            (2048, 512, 0.25, 512),
            # Larger strokes by `scale` are not limited.
            (512, 1024, 2, 1024),
            (1024, 1024, 2, 2048),
            (2048, 512, 2, 1024 * 2**1.5),
        ],
    )
    def test_painting_side(self, picture, painting, scale, side):
        assert painting_side(picture, painting, scale) == pytest.approx(side)

    @settings(deadline=None)
    @given(st.integers(32, 9000), st.integers(16, 3000), st.floats(0.1, 8))
    def test_strokes_grow_with_the_picture(self, picture, painting, scale):
        side, larger = (painting_side(p, painting, scale) for p in (picture, 2 * picture))
        assert 2**0.75 * 0.999 <= larger / side <= 2.001
        assert min(picture * scale, painting) * 0.999 <= side <= picture * scale * 1.001

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a.jpg", ("a.jpg", 1.0)),
            ("a.jpg:0.25", ("a.jpg", 0.25)),
            (r"C:\a.jpg", (r"C:\a.jpg", 1.0)),
            (r"C:\a.jpg:2", (r"C:\a.jpg", 2.0)),
            (":3", (":3", 1.0)),
        ],
    )
    def test_parse_painting(self, text, expected):
        assert parse_painting(text) == expected

    @pytest.mark.parametrize("text", ["a.jpg:0", "a.jpg:-1", "a.jpg:nan", "a.jpg:inf"])
    def test_parse_painting_rejects_bad_weights(self, text):
        with pytest.raises(UsageError, match="expected a number above 0"):
            parse_painting(text)


class TestWrongInput:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"size": 31}, "size is 31; expected 32 or more"),
            ({"size": 20000}, "size is 20000; expected 16384 or less"),
            ({"iterations": 0}, "iterations is 0"),
            ({"style_scale": 0}, "style_scale is 0"),
            ({"optimizer": "sgd"}, "optimizer is 'sgd'; expected one of lbfgs, adam"),
            ({"style_weight": float("nan")}, "style_weight is nan"),
            ({"style_layers": ""}, "style_layers is empty"),
            ({"style_layers": "relu5_1"}, "no layer 'relu5_1'"),
            ({"content_layers": "relu2_2=x"}, "content_layers is 'relu2_2=x'"),
            ({"scales": 3}, "--scales 3 would begin at 12x12 pixels"),
            ({"frobnicate": 1}, "there is no option frobnicate"),
            ({"init": " "}, "init is empty"),
            ({"weights": [1, 2]}, "there are 2 weights for 1 paintings"),
            ({"weights": [-1]}, "the weight of a painting is -1"),
        ],
    )
    def test_options(self, photo, painting, options, message):
        with pytest.raises(UsageError, match="(?s)" + message.replace("'", ".")):
            make_optimization(photo, painting, **{"size": 48, **options})

    def test_no_painting(self, photo):
        with pytest.raises(UsageError, match="there is no painting"):
            make_optimization(photo, [])

    def test_painting_below_16_pixels(self, photo):
        with pytest.raises(UsageError, match="the painting is 8x4 pixels, too small"):
            make_optimization(photo, np.zeros((4, 8, 3), np.uint8))

    def test_masks(self, photo, painting):
        np.testing.assert_array_equal(read_mask(np.ones((64, 4)), 64, 64), np.ones((64, 64)))
        with pytest.raises(UsageError, match="black everywhere"):
            read_mask(np.zeros((64, 64)), 64, 64)
        with pytest.raises(UsageError, match="2 masks for 1 paintings"):
            make_optimization(photo, painting, masks=[np.ones((64, 64))] * 2)

    def test_missing_torch_is_named(self, photo, painting, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch", None)
        for module in [name for name in sys.modules if name.startswith("fast_style.optimization")]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.delitem(sys.modules, "fast_style.models.perceptual_loss", raising=False)
        for name in ("optimize_image", "OptimizeStep"):
            monkeypatch.delitem(vars(fast_style), name, raising=False)
        sentence = r"needs torch.*fast-style\[torch\]"
        with pytest.raises(fast_style.MissingExtraError, match=sentence):
            fast_style.optimize_image(photo, painting)
        with pytest.raises(fast_style.MissingExtraError, match="OptimizeStep " + sentence):
            _ = fast_style.OptimizeStep


class TestMemory:
    def test_error_names_a_size_that_fits(self, astronaut, painting, monkeypatch):
        monkeypatch.setattr(memory, "available_memory", lambda: 1400 << 20)
        with pytest.raises(ImageTooLargeError, match=r"give --size (\d+) or less") as caught:
            make_optimization(astronaut, painting, size=4096, device="cpu", precision="fp32")
        # The photo in the tests has 256 pixels a side.
        assert "256x256 pixels take about" in str(caught.value)
        size = int(str(caught.value).split("--size ")[1].split()[0])
        for fits, offset in ((True, 0), (False, 2)):
            try:
                make_optimization(
                    astronaut, painting, size=size + offset, device="cpu", precision="fp32"
                )
            except ImageTooLargeError:
                assert not fits
            else:
                assert fits

    def test_lbfgs_history_is_counted_up_to_its_length(self, photo, painting):
        """Each of the first twenty iterations adds a picture and a gradient in float32."""
        run = make_optimization(photo, painting, **QUICK)
        needed = {
            n: memory.estimate_bytes(PyramidLevel(1000, 1000, n), run._vgg, "lbfgs", bf16=False)
            for n in (5, 6, 20, 30)
        }
        assert needed[6] - needed[5] == pytest.approx(memory._MARGIN * 24e6, abs=2)
        assert needed[20] - needed[5] == pytest.approx(15 * (needed[6] - needed[5]), abs=20)
        assert needed[30] == needed[20]

    def test_error_if_no_size_fits(self, astronaut, painting, monkeypatch):
        monkeypatch.setattr(memory, "available_memory", lambda: 1 << 20)
        with pytest.raises(ImageTooLargeError, match="free some memory"):
            make_optimization(astronaut, painting, size=64, device="cpu")

    @pytest.mark.parametrize("bf16", [False, True])
    def test_kept_features_are_most_of_the_estimate(self, photo, painting, bf16):
        """Compare the estimate with the tensors that autograd saves."""
        precision = "bf16" if bf16 else "fp32"
        run = make_optimization(photo, painting, precision=precision, device="cpu", size=64)
        objective = run._objective(run.levels[-1], bf16=bf16)
        kept = {}

        def note(tensor):
            if len(tensor) == 1:  # a batch of one, and no weights
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        picture = to_tensor(photo, "cpu").requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            losses = objective(picture)
        features = sum(kept.values())
        estimate = memory.bytes_per_pixel(run._vgg, "adam", 1, bf16=bf16) * 64 * 64
        assert 0.4 * estimate < features < estimate
        losses.total.backward()
