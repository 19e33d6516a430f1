import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fast_style.errors import (
    EngineError,
    FastStyleError,
    ImageTooLargeError,
    StyleNotFoundError,
    UnreadableImageError,
    UsageError,
)
from fast_style.images import Photo, read_image
from fast_style.inference import renderer as module
from fast_style.inference.stylizer import Stylizer
from fast_style.options import StyleOptions
from tests.conftest import STYLE


class Inverting:
    """An engine with a predictable result."""

    name, device, precision = "inverting", "cpu", "fp32"

    def __init__(self):
        self.shapes = []
        self.error = None

    def predict(self, images):
        self.shapes.append(images.shape)
        if self.error is not None:
            raise self.error
        return 255 - images


@pytest.fixture
def engine(monkeypatch) -> Inverting:
    engine = Inverting()
    monkeypatch.setattr(module, "create_engine", lambda model, options: engine)
    return engine


@pytest.fixture
def inverter(engine, model) -> Stylizer:
    return Stylizer(model)


@pytest.fixture(scope="module")
def real(model) -> Stylizer:
    return Stylizer(model, device="cpu", precision="fp32")


class TestRealEngine:
    def test_stylizes_a_photo(self, real, astronaut):
        result = real.stylize(astronaut, size=128)
        assert result.mode == "RGB"
        assert result.size == (128, 128)
        picture = np.asarray(result)
        assert picture.std() > 3
        assert np.asarray(real.stylize(astronaut, size=128)) == pytest.approx(picture, abs=1)

    def test_path_bytes_image_and_array_give_the_same(self, real, astronaut):
        with Image.open(astronaut) as opened:
            small = opened.resize((60, 44))
        buffer = io.BytesIO()
        small.save(buffer, "PNG")
        pictures = [
            np.asarray(real.stylize(source))
            for source in (small, np.asarray(small), buffer.getvalue(), buffer)
        ]
        for picture in pictures:
            np.testing.assert_array_equal(picture, pictures[0])

    @pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (5, 4)])
    def test_any_size_keeps_its_size(self, real, size):
        result = real.stylize(Image.new("RGB", size, (200, 30, 90)))
        assert result.size == size

    def test_engine_and_card_are_exposed(self, real):
        assert real.engine.device == "cpu"
        assert real.engine.precision == "fp32"
        assert real.card.name == STYLE


class TestStyles:
    def test_loads_by_name_path_and_model(self, engine, workplace, model_file, model):
        for style in (STYLE, str(model_file), model_file, model):
            assert Stylizer(style).card == model.card

    def test_missing_style_is_reported(self, engine, workplace):
        with pytest.raises(StyleNotFoundError, match=STYLE):
            Stylizer("wheat-feld")

    def test_options_reach_the_engine(self, model, monkeypatch):
        seen = {}
        monkeypatch.setattr(
            module,
            "create_engine",
            lambda model, options: seen.update(asdict(options)) or Inverting(),
        )
        options = {"engine": "torch", "device": "cuda", "precision": "bf16", "cache": False}
        options |= {"concurrency": 3, "tile": 512}
        Stylizer(model, **options)
        assert seen == options

    def test_cache_false_writes_nothing_to_disk(self, model, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        picture = np.zeros((8, 8, 3), np.uint8)
        Stylizer(model, engine="openvino", cache=False).stylize(picture)
        assert list(tmp_path.iterdir()) == []
        Stylizer(model, engine="openvino").stylize(picture)
        assert list(tmp_path.rglob("*.blob"))

    @pytest.mark.parametrize("limit", [0, -1, float("nan")])
    def test_invalid_max_megapixels_is_refused(self, engine, model, limit):
        with pytest.raises(UsageError, match="max_megapixels"):
            Stylizer(model, max_megapixels=limit)


class TestSize:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [(None, (300, 200)), (300, (300, 200)), (150, (150, 100)), (1, (1, 1)), (9999, (300, 200))],
    )
    def test_size_only_reduces(self, inverter, engine, size, expected):
        result = inverter.stylize(Image.new("RGB", (300, 200)), size=size)
        assert result.size == expected
        assert engine.shapes == [(1, expected[1], expected[0], 3)]

    @pytest.mark.parametrize("size", [0, -5, 2.5, True, "512"])
    def test_invalid_sizes_are_refused(self, inverter, engine, size):
        with pytest.raises(UsageError, match="size"):
            inverter.stylize(Image.new("RGB", (4, 4)), size=size)
        assert not engine.shapes


class TestStrength:
    def test_strength_1_is_the_full_style(self, inverter):
        picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
        np.testing.assert_array_equal(inverter.stylize(picture), 255 - picture)

    def test_strength_0_is_the_photo_without_the_network(self, inverter, engine):
        picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
        np.testing.assert_array_equal(inverter.stylize(picture, strength=0), picture)
        assert not engine.shapes

    def test_strength_blends(self, inverter):
        picture = np.full((2, 2, 3), 55, np.uint8)
        mixed = np.asarray(inverter.stylize(picture, strength=0.25))
        assert (mixed == round(0.75 * 55 + 0.25 * 200)).all()

    @pytest.mark.parametrize("strength", [-0.1, 1.6, float("nan")])
    def test_invalid_strengths_are_refused(self, inverter, strength):
        with pytest.raises(UsageError, match="strength"):
            inverter.stylize(np.zeros((2, 2, 3), np.uint8), strength=strength)


def test_preserve_color_keeps_chroma_and_takes_luma(inverter):
    picture = np.full((2, 2, 3), (140, 100, 120), np.uint8)
    result = np.asarray(inverter.stylize(picture, preserve_color=True)).astype(int)[0, 0]
    luma = np.array([0.299, 0.587, 0.114])
    assert result @ luma == pytest.approx(255 - picture[0, 0] @ luma, abs=1)
    assert result - result[0] == pytest.approx(picture[0, 0].astype(int) - 140, abs=1)


class TestKeptProperties:
    def test_alpha_of_images_and_arrays_is_kept(self, inverter):
        picture = np.zeros((4, 6, 4), np.uint8)
        picture[..., 3] = np.arange(24).reshape(4, 6)
        for source in (picture, Image.fromarray(picture)):
            result = inverter.stylize(source)
            assert result.mode == "RGBA"
            np.testing.assert_array_equal(np.asarray(result)[..., 3], picture[..., 3])

    def test_alpha_is_resized(self, inverter):
        result = inverter.stylize(Image.new("RGBA", (40, 20), (1, 2, 3, 77)), size=10)
        assert result.size == (10, 5)
        assert (np.asarray(result)[..., 3] == 77).all()

    def test_metadata_is_kept(self, inverter):
        exif = Image.Exif()
        exif[0x010F] = "Camera"
        photo = Photo(
            np.zeros((8, 8, 3), np.uint8), exif=exif.tobytes(), icc_profile=b"p", format="JPEG"
        )
        result = inverter.stylize_photo(photo, StyleOptions(size=4, strength=0.5))
        assert (result.exif, result.icc_profile, result.format) == (photo.exif, b"p", "JPEG")
        assert result.pixels.shape == (4, 4, 3)

    def test_rotated_photo_becomes_upright(self, inverter, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        path = tmp_path / "rotated.jpg"
        Image.new("RGB", (30, 20)).save(path, exif=exif)
        assert inverter.stylize(path).size == (20, 30)

    def test_the_input_is_not_changed(self, inverter):
        picture = np.full((4, 4, 3), 9, np.uint8)
        for options in ({}, {"strength": 0.5}, {"preserve_color": True}, {"strength": 0.0}):
            inverter.stylize(picture, **options)
            assert (picture == 9).all()


class TestErrors:
    def test_picture_over_the_limit_is_refused(self, engine, model):
        stylizer = Stylizer(model, max_megapixels=0.0001)
        with pytest.raises(ImageTooLargeError):
            stylizer.stylize(np.zeros((20, 20, 3), np.uint8))

    def test_missing_file_is_reported(self, inverter, tmp_path):
        with pytest.raises(UnreadableImageError, match=r"nothing\.jpg"):
            inverter.stylize(tmp_path / "nothing.jpg")

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            RuntimeError("std::bad_alloc"),
            EngineError("openvino failed: could not allocate memory"),
        ],
    )
    def test_out_of_memory_suggests_a_smaller_size(self, inverter, engine, error):
        engine.error = error
        with pytest.raises(ImageTooLargeError, match=r"300x200.*--size 150"):
            inverter.stylize(np.zeros((200, 300, 3), np.uint8))
        with pytest.raises(ImageTooLargeError, match=r"at size 100.*--size 50"):
            inverter.stylize(np.zeros((200, 300, 3), np.uint8), size=100)

    @pytest.mark.parametrize(
        ("stroke_size", "advised"), [(0.25, "1"), (1, "2"), (1.5, "3"), (8, "16"), (9, None)]
    )
    def test_out_of_memory_suggests_larger_strokes(self, inverter, engine, stroke_size, advised):
        engine.error = MemoryError()
        with pytest.raises(ImageTooLargeError, match="--size 150") as caught:
            inverter.stylize(np.zeros((200, 300, 3), np.uint8), stroke_size=stroke_size)
        assert ("--stroke-size" in str(caught.value)) == (advised is not None)
        assert advised is None or f"(--stroke-size {advised})," in str(caught.value)

    @pytest.mark.parametrize(
        ("tile", "advised"), [("auto", 1024), ("off", 1024), (2048, 1024), (100, 64), (64, None)]
    )
    def test_out_of_memory_suggests_strips_where_the_engine_has_them(
        self, model, tile, advised, monkeypatch
    ):
        stylizer = Stylizer(model, tile=tile, engine="openvino")

        def fail(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(stylizer.engine, "predict", fail)
        monkeypatch.setattr(module, "sweep", fail)
        with pytest.raises(ImageTooLargeError, match="--size 150") as caught:
            stylizer.stylize(np.zeros((200, 300, 3), np.uint8))
        assert ("--tile" in str(caught.value)) == (advised is not None)
        assert advised is None or f"strips (--tile {advised}), give" in str(caught.value)

    def test_other_errors_are_not_changed(self, inverter, engine):
        engine.error = RuntimeError("shapes do not fit")
        with pytest.raises(RuntimeError, match="shapes"):
            inverter.stylize(np.zeros((2, 2, 3), np.uint8))
        engine.error = FastStyleError("no")
        with pytest.raises(FastStyleError, match="no"):
            inverter.stylize(np.zeros((2, 2, 3), np.uint8))


def test_stylize_photo_equals_stylize(inverter, astronaut: Path):
    photo = inverter.stylize_photo(read_image(astronaut))
    np.testing.assert_array_equal(photo.pixels, np.asarray(inverter.stylize(astronaut)))
    assert photo.pixels.flags.c_contiguous


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("preserve_color", [False, True])
def test_paint_and_finish_equal_stylize_photo(
    inverter, engine, astronaut: Path, strength, preserve_color
):
    photo = read_image(astronaut)
    painted = inverter.paint(photo, StyleOptions(size=100, stroke_size=2))
    passes = len(engine.shapes)
    options = StyleOptions(
        size=100, stroke_size=2, strength=strength, preserve_color=preserve_color
    )
    finished = painted.finish(options)
    assert len(engine.shapes) == passes
    whole = inverter.stylize_photo(photo, options)
    np.testing.assert_array_equal(finished.pixels, whole.pixels)
    assert finished.exif == whole.exif


def test_painting_explains_a_lack_of_memory(inverter, engine):
    photo = Photo(np.zeros((20, 30, 3), np.uint8))
    engine.error = MemoryError()
    with pytest.raises(ImageTooLargeError, match=r"30x20.*--size 15"):
        inverter.paint(photo)
