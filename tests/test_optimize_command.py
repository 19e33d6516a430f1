"""`fast-style optimize` and `stylize --polish` as commands, on a real photo at small sizes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fast_style.images import read_image, resize_long_side, resize_to
from fast_style.optimization import memory
from tests import float64_loss
from tests.commands import environment, failure, invoke
from tests.conftest import STYLE
from tests.training_photos import make_painting

SHALLOW = ("--content-layers", "relu2_2", "--style-layers", "relu1_2,relu2_2")
QUICK = ("--size", "48", "--precision", "fp32", "--device", "cpu", *SHALLOW)
LAYERS = {
    "content_layers": {"relu2_2": 1.0},
    "style_layers": {"relu1_2": 1.0, "relu2_2": 1.0},
}


@pytest.fixture
def place(workplace, astronaut):
    """A folder with a photo of 96x72 pixels and a painting."""
    with Image.open(astronaut) as image:
        image.resize((96, 96)).crop((0, 0, 96, 72)).save("photo.png")
    make_painting(workplace / "painting.png")
    Image.new("L", (8, 6)).save("black.png")
    return workplace


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def optimized(*args, iterations=3):
    """Run `optimize` with one painting and few iterations; return its JSON."""
    result = invoke(
        *("optimize", "photo.png", "--style-image", "painting.png", *QUICK),
        *("--iterations", iterations, "-o", "out.png", "--json", "--quiet", *args),
    )
    assert result.code == 0, result.err
    return result.json


class TestObjective:
    def test_losses_equal_the_formulas_in_float64(self, place):
        """With default weights and layers, for the written file."""
        result = invoke(
            *("optimize", "photo.png", "--style-image", "painting.png", "--size", 64),
            *("--iterations", 4, "-o", "out.png", "--json"),
        )
        assert result.code == 0, result.err
        photo = resize_long_side(pixels("photo.png"), 64)
        painting = resize_long_side(pixels("painting.png"), 64)
        assert pixels("out.png").shape == photo.shape
        expected = float64_loss.losses(pixels("out.png"), photo, [painting])
        assert result.json["losses"] == pytest.approx(expected, rel=1e-4)
        start = float64_loss.losses(photo, photo, [painting])
        assert expected["total"] < 0.5 * start["total"]

    def test_losses_with_weights_two_paintings_and_masks(self, place):
        rows = np.zeros((72, 96), np.uint8)
        rows[:, :32] = 255
        Image.fromarray(rows).save("left.png")
        Image.fromarray(255 - rows).save("right.png")
        Image.fromarray(pixels("painting.png")[::-1, :, ::-1].copy()).save("second.png")
        document = optimized(
            *("--style-image", "second.png:3", "--mask", "left.png", "--mask", "right.png"),
            *("--content-layers", "relu2_1=0.5", "--style-layers", "relu1_1,relu2_2=2"),
            *("--content-weight", 2, "--style-weight", 9, "--tv-weight", 5, "--style-scale", 0.5),
        )
        photo = resize_long_side(pixels("photo.png"), 48)
        paintings = [resize_long_side(pixels(f"{n}.png"), 24) for n in ("painting", "second")]
        whole = torch.from_numpy(rows.astype(np.float32) / 255)[None, None]
        left = torch.nn.functional.adaptive_avg_pool2d(whole, photo.shape[:2])[0, 0].numpy()
        expected = float64_loss.losses(
            pixels("out.png"),
            photo,
            paintings,
            weights=[1, 3],
            masks=[left, 1 - left],
            content_layers={"relu2_1": 0.5},
            style_layers={"relu1_1": 1.0, "relu2_2": 2.0},
            content_weight=2,
            style_weight=9,
            tv_weight=5,
        )
        assert document["losses"] == pytest.approx(expected, rel=1e-3)

    def test_adam_with_a_larger_rate_gets_lower(self, place):
        slow = optimized("--optimizer", "adam", "--learning-rate", 2e-3)["losses"]["total"]
        fast = optimized("--optimizer", "adam")["losses"]["total"]
        photo = resize_long_side(pixels("photo.png"), 48)
        painting = resize_long_side(pixels("painting.png"), 48)
        start = float64_loss.losses(photo, photo, [painting], **LAYERS)["total"]
        assert fast < slow < start


class TestChoices:
    def test_picture_starts_from_init(self, place):
        """The rate is nearly 0, so that the result is the start."""
        photo = resize_long_side(pixels("photo.png"), 48)
        Image.fromarray(np.full((30, 40, 3), (9, 99, 199), np.uint8)).save("flat.png")
        starts = {}
        for init in ("photo", "painting", "noise", STYLE, "flat.png"):
            still = ("--optimizer", "adam", "--learning-rate", 1e-7)
            optimized("--init", init, *still, iterations=1)
            starts[init] = pixels("out.png").astype(int)
        assert np.array_equal(starts["photo"], photo)
        assert np.abs(starts["flat.png"] - (9, 99, 199)).max() <= 1
        assert np.corrcoef(starts["noise"].ravel(), photo.ravel())[0, 1] < 0.1
        result = invoke("stylize", "photo.png", "-s", STYLE, "--size", 48, "-o", "network.png")
        assert result.code == 0
        assert np.abs(starts[STYLE] - pixels("network.png")).max() <= 1
        middle = resize_to(pixels("painting.png"), 40, 48)[2:38]
        assert np.abs(starts["painting"] - middle).mean() < 2

    def test_result_depends_on_the_seed_alone(self, place):
        pictures = {}
        for number, seed in enumerate((1, 1, 2)):
            optimized("--init", "noise", "--seed", seed)
            pictures[number] = Path("out.png").read_bytes()
        assert pictures[0] == pictures[1] != pictures[2]

    def test_preserve_color_keeps_the_photos_colours(self, place):
        optimized("--preserve-color")
        photo = resize_long_side(pixels("photo.png"), 48).astype(float)
        out = pixels("out.png").astype(float)
        shown = ((out > 0) & (out < 255)).all(axis=2)
        assert shown.mean() > 0.5
        for first, second in ((0, 1), (1, 2)):
            kept = (out - photo)[..., first] - (out - photo)[..., second]
            assert np.abs(kept[shown]).max() <= 1
        assert np.abs(out - photo).mean() > 5

    def test_mask_limits_the_change(self, place):
        mask = np.zeros((72, 96), np.uint8)
        mask[:, :40] = 255
        Image.fromarray(mask).save("mask.png")
        optimized("--mask", "mask.png", iterations=8)
        change = np.abs(pixels("out.png").astype(int) - resize_long_side(pixels("photo.png"), 48))
        assert change[:, 30:].mean() < 0.2 * change[:, :18].mean()

    @pytest.mark.parametrize(
        ("name", "more", "format"),
        [
            ("out.jpg", (), "JPEG"),
            ("out.webp", ("--quality", 50), "WEBP"),
            ("out.dat", ("--format", "tiff"), "TIFF"),
        ],
    )
    def test_output_formats(self, place, name, more, format):
        document = optimized("-o", name, *more, iterations=1)
        with Image.open(name) as image:
            assert (image.format, image.size) == (format, (48, 36))
        assert document["output"] == name

    def test_scales_go_from_coarse_to_fine(self, place):
        result = optimized("--size", 96, "--scales", 2, "--curve", "curve.json", iterations=4)
        steps = json.loads(Path("curve.json").read_text())["steps"]
        assert [step["width"] for step in steps] == [48] * 4 + [96] * 2
        assert (result["width"], result["height"]) == (96, 72)

    def test_reads_stdin_and_writes_stdout(self, place):
        result = invoke(
            *("optimize", "-", "--style-image", "painting.png", *QUICK, "--iterations", 1),
            *("-o", "-", "--format", "png", "--quiet"),
            input=Path("photo.png").read_bytes(),
        )
        assert (result.code, result.err) == (0, "")
        Path("piped.png").write_bytes(result.out_bytes)
        assert pixels("piped.png").shape == (36, 48, 3)


class TestAdditionalOutputs:
    def test_intermediate_pictures_in_a_folder(self, place):
        optimized("--keep-every", 2, iterations=5)
        names = sorted(path.name for path in Path("out-steps").iterdir())
        assert names == ["step-00002.png", "step-00004.png", "step-00005.png"]
        assert np.array_equal(pixels("out-steps/step-00005.png"), pixels("out.png"))

    def test_intermediate_pictures_as_archive_and_animation(self, place):
        optimized("--keep-every", 2, "--keep-in", "steps.zip", "--format", "png", iterations=4)
        with zipfile.ZipFile("steps.zip") as archive:
            assert archive.namelist() == ["step-00002.png", "step-00004.png"]
            archive.extract("step-00004.png")
        assert np.array_equal(pixels("step-00004.png"), pixels("out.png"))
        for name in ("steps.gif", "steps.webp"):
            optimized("--keep-every", 1, "--keep-in", name)
            with Image.open(name) as animation:
                assert animation.n_frames == 3
                assert animation.size == (48, 36)

    def test_loss_curve_as_json_and_as_plot(self, place):
        document = optimized("--curve", "curves/c.json", "--plot", "plot.png", iterations=5)
        curve = json.loads(Path("curves/c.json").read_text())
        assert [step["iteration"] for step in curve["steps"]] == [1, 2, 3, 4, 5]
        assert curve["losses"] == document["losses"]
        # Steps report the losses of pixels that are not rounded.
        last = min(step["total"] for step in curve["steps"])
        assert last == pytest.approx(document["losses"]["total"], rel=0.02)
        with Image.open("plot.png") as image:
            assert len(image.convert("RGB").getcolors(1 << 20)) > 20


class TestProgress:
    def test_progress_lines_and_summary(self, place):
        result = invoke(
            *("optimize", "photo.png", "--style-image", "painting.png", *QUICK),
            *("--iterations", 2, "-o", "out.png"),
        )
        first, last = result.lines
        assert first.startswith("iteration 1/2  48x36  loss ")
        assert first.endswith(" left")
        assert last.startswith("photo.png -> out.png (48x36, 2 iterations, ")
        assert result.out == ""

    @pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
    def test_interrupt_writes_the_best_picture(self, place):
        arguments = (
            *("optimize", "photo.png", "--style-image", "painting.png", *QUICK, "-o", "out.png"),
            *("--iterations", "100000", "--tolerance", "0", "--keep-every", "2"),
        )
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "fast_style", *arguments],
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 100
        while not list(Path().glob("out-steps/*4.png")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=100)
        assert process.returncode == 130, err
        assert err.splitlines()[-1] == "fast-style: interrupted; the best picture so far is written"
        photo = resize_long_side(pixels("photo.png"), 48)
        painting = resize_long_side(pixels("painting.png"), 48)
        losses = [
            float64_loss.losses(picture, photo, [painting], **LAYERS)["total"]
            for picture in (pixels("out.png"), photo)
        ]
        assert losses[0] < 0.5 * losses[1]


class TestBadInput:
    @pytest.mark.parametrize(
        ("args", "code", "sentence"),
        [
            (["--style-image", "none.png"], 1, "the painting cannot be used: none.png does not ex"),
            (["--style-image", "text.txt"], 1, "the painting cannot be used: text.txt"),
            (["--size", 8], 2, "--size is 8; expected 32 or more"),
            (["--size", 10**6], 2, "--size is 1000000; expected 16384 or less"),
            (["--scales", 3], 2, "--scales 3 would begin at 12x9 pixels"),
            (["--mask", "black.png"], 2, "the mask is black everywhere"),
            (["--mask", "none.png"], 1, "none.png does not exist"),
            (["--init", "moon"], 2, "the start 'moon' is none of photo, painting, noise, and no"),
            (["--init", "text.txt"], 1, "the start cannot be used: text.txt"),
            (["--device", "cuda"], 1, "torch finds no CUDA GPU that it can use"),
            (["--keep-in", "x.zip"], 2, "--keep-in needs --keep-every N: give both"),
            (["--plot", "plot.doc"], 2, "expected a name ending in .png, .svg"),
            (["-o", "painting.png"], 2, "painting.png would be overwritten by the picture"),
            (["-o", "photo.png"], 2, "photo.png would be overwritten"),
            (["-o", "out.xyz"], 2, "out.xyz has the suffix .xyz"),
            (["--style-layers", "relu7_1"], 2, "no layer 'relu7_1'"),
        ],
    )
    def test_one_sentence(self, place, args, code, sentence):
        if "cuda" in args and torch.cuda.is_available():
            pytest.skip("there is a GPU")
        Path("text.txt").write_text("no picture")
        given = [] if "--style-image" in args else ["--style-image", "painting.png"]
        out = [] if "-o" in args else ["-o", "out.png"]
        options = [*QUICK, "--iterations", 1, *given, *out, *args]
        assert sentence in failure("optimize", "photo.png", *options, code=code)
        assert not Path("out.png").exists()

    def test_error_names_a_size_that_fits_into_memory(self, place, monkeypatch):
        monkeypatch.setattr(memory, "available_memory", lambda: 1382 << 20)
        options = ("--style-image", "painting.png", "-o", "out.png", "--size", 96)
        sentence = failure("optimize", "photo.png", *options, "--precision", "fp32")
        assert "96x72 pixels take about 1.5 GB to optimise, and 1.4 GB are free" in sentence
        size = int(sentence.split("give --size ")[1].split()[0])
        more = (*QUICK[2:], "--size", size, "--iterations", 1)
        assert invoke("optimize", "photo.png", *options, *more).code == 0

    def test_missing_torch_is_named(self, place, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch", None)
        sentence = failure("optimize", "photo.png", "--style-image", "painting.png")
        assert sentence.endswith('which is not installed: pip install "fast-style[torch]"')
        sentence = failure("stylize", "photo.png", "-s", STYLE, "--polish", 1, "-o", "out.png")
        assert sentence.endswith('which is not installed: pip install "fast-style[torch]"')


class TestPolish:
    @pytest.fixture
    def painted(self, place):
        """A style file with its painting beside it."""
        model = Path("models") / f"{STYLE}.safetensors"
        model.parent.mkdir()
        shutil.copy(place.parent / os.environ["FAST_STYLE_MODELS"] / model.name, model)
        shutil.copy("painting.png", model.with_suffix(".png"))
        return model

    def stylize(self, *args):
        options = ("--size", 48, "--engine", "openvino", "-o", "out.png", "--quiet")
        result = invoke("stylize", "photo.png", *options, *args)
        assert (result.code, result.err) == (0, "")
        return pixels("out.png")

    def test_polish_lowers_the_loss(self, painted):
        plain = self.stylize("-s", painted)
        polished = self.stylize("-s", painted, "--polish", 3)
        given = self.stylize("-s", STYLE, "--polish", 3, "--style-image", "painting.png")
        assert np.array_equal(polished, given)
        photo = resize_long_side(pixels("photo.png"), 48)
        painting = resize_long_side(pixels("painting.png"), 48)
        losses = [float64_loss.losses(p, photo, [painting])["total"] for p in (plain, polished)]
        assert losses[1] < 0.7 * losses[0]

    def test_strength_is_applied_after_polish(self, painted):
        full = self.stylize("-s", painted, "--polish", 2).astype(float)
        half = self.stylize("-s", painted, "--polish", 2, "--strength", 0.5)
        photo = resize_long_side(pixels("photo.png"), 48)
        assert np.abs(half - (full + photo) / 2).max() <= 1

    def test_polish_needs_a_painting(self, place):
        args = ("stylize", "photo.png", "-s", STYLE, "-o", "out.png")
        sentence = failure(*args, "--style-image", "painting.png", code=2)
        assert "--style-image is the painting for --polish N: give both" in sentence
        assert "give it with --style-image" in failure(*args, "--polish", 1, code=2)


def test_exif_orientation_is_applied(place):
    with Image.open("photo.png") as image:
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save("turned.jpg", exif=exif)
    result = invoke(
        *("optimize", "turned.jpg", "--style-image", "painting.png", *QUICK),
        *("--iterations", 1, "-o", "out.jpg", "--quiet"),
    )
    assert result.code == 0, result.err
    assert read_image("out.jpg").pixels.shape == (48, 36, 3)
