"""Mixtures of styles: their notation, the mean of weights, the mean of pictures, the command."""

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import fast_style
from fast_style.errors import StyleNotFoundError, UsageError
from fast_style.inference.stylizer import Stylizer
from fast_style.models.config import NetworkConfig
from fast_style.models.model_file import StyleModel, save_model
from fast_style.styles.mixing import how_to_mix, looks_like_mixture, mix_models, parse_mixture
from fast_style.styles.registry import find_parts, load_style
from tests.commands import failure, invoke
from tests.conftest import SMALLEST, make_card, make_weights

BASE = {"started_from": {"name": "base", "steps": 3}}


def made(name: str, seed: int, *, training: dict | None = None, **more: object) -> StyleModel:
    config = more.pop("config", SMALLEST)
    card = make_card(name, config, training=training or {"seed": seed}, **more)
    return StyleModel(card, make_weights(config, seed))


@pytest.fixture
def styles(tmp_path, monkeypatch) -> Path:
    """Two styles of one base, `wave` and `scream`, and one of its own, `night`; we stand there."""
    folder = tmp_path / "models"
    for seed, (name, training) in enumerate(
        [("wave", BASE), ("scream", BASE), ("night", {"seed": 1})]
    ):
        model = made(name, seed, training=training, grain=4 * seed, title=name.title())
        save_model(folder / f"{name}.safetensors", model.card, model.weights)
    monkeypatch.setenv("FAST_STYLE_MODELS", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def photo(styles, astronaut) -> Path:
    with Image.open(astronaut) as image:
        image.crop((100, 40, 190, 100)).save("photo.png")
    return Path("photo.png").resolve()


def pixels(style: str, photo: Path) -> np.ndarray:
    return np.asarray(Stylizer(style, engine="openvino", precision="fp32").stylize(photo))


class TestNotation:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a:0.6,b:0.4", [("a", 0.6), ("b", 0.4)]),
            (" a : 3 , b : 1 ", [("a", 0.75), ("b", 0.25)]),
            ("a,b", [("a", 0.5), ("b", 0.5)]),
            ("a:7", [("a", 1.0)]),
            ("a:1,b:0", [("a", 1.0), ("b", 0.0)]),
            ("a:1,b:2,a:1", [("a", 0.5), ("b", 0.5)]),
            ("C:\\s\\a.safetensors:1,./b:.5e0", [("C:\\s\\a.safetensors", 2 / 3), ("./b", 1 / 3)]),
        ],
    )
    def test_valid_mixtures(self, text, expected):
        assert looks_like_mixture(text)
        found = parse_mixture(text)
        assert [name for name, _ in found] == [name for name, _ in expected]
        assert [share for _, share in found] == pytest.approx([share for _, share in expected])

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("a:0.5,b", "only some styles have a share"),
            ("a:0.5,", "a part without a name"),
            (":0.5,b:0.5", "a part without a name"),
            ("a:-1,b:2", "the share of a is -1: expected a number of 0 or more"),
            ("a:0,b:0", "sum to 0: at least one must be above 0"),
            ("a:1e999,b:1", "the share of a is 1e999"),
            (",".join("abcdefgh" * 5), "40 styles was given; at most 32"),
        ],
    )
    def test_invalid_mixtures_are_refused(self, text, says):
        with pytest.raises(UsageError, match=says):
            parse_mixture(text)

    @pytest.mark.parametrize(
        "text",
        [
            "starry-night",
            "C:\\x.safetensors",
            "C:/x/y.safetensors",
            "C:x",
            "a:",
            "a:nan",
            "a:b",
            "",
        ],
    )
    def test_names_and_paths_are_not_mixtures(self, text):
        assert not looks_like_mixture(text)

    @given(st.text(max_size=30))
    def test_any_text_is_parsed_or_refused(self, text):
        try:
            parts = parse_mixture(text)
        except UsageError:
            return
        assert math.isclose(sum(share for _, share in parts), 1)
        assert all(name and share >= 0 for name, share in parts)


class TestHowToMix:
    def test_styles_of_one_base_are_mixed_by_weights(self):
        deeper = {"started_from": {"name": "wave", "started_from": {"name": "base"}}}
        cards = [made(n, 0, training=t).card for n, t in (("a", BASE), ("b", BASE), ("c", deeper))]
        assert how_to_mix(cards) == "weights"

    def test_style_and_its_base_are_mixed_by_weights(self):
        child = made("child", 0, training={"started_from": {"name": "wave"}}).card
        assert how_to_mix([child, made("wave", 1).card]) == "weights"
        assert how_to_mix([made("wave", 1).card, child]) == "weights"

    def test_card_with_only_the_name_of_its_base(self):
        named = made("a", 0, training={"init": "base.safetensors"}).card
        assert how_to_mix([named, made("b", 1, training=BASE).card]) == "weights"
        scratch = [made(name, 0, training={"init": "scratch"}).card for name in "ab"]
        assert how_to_mix(scratch) == "pictures"

    def test_independent_styles_are_mixed_by_pictures(self):
        assert how_to_mix([made("a", 0).card, made("b", 1).card]) == "pictures"
        # One name is no kinship: both may have been trained from scratch.
        assert how_to_mix([made("a", 0).card, made("a", 1).card]) == "pictures"
        other = made("a", 0, training={"started_from": {"name": "other"}}).card
        assert how_to_mix([other, made("b", 0, training=BASE).card]) == "pictures"

    def test_different_sizes_are_mixed_by_pictures(self):
        wide = made("a", 0, training=BASE, config=NetworkConfig(3, 1)).card
        assert how_to_mix([wide, made("b", 0, training=BASE).card]) == "pictures"

    def test_invalid_training_on_a_card_is_ignored(self):
        for line in ("base", {"name": 3}, {"name": "x", "started_from": [1]}, None):
            card = made("a", 0, training={"started_from": line}).card
            assert how_to_mix([card, made("b", 0, training=BASE).card]) == "pictures"


class TestMixModels:
    def test_each_weight_is_the_weighted_mean(self):
        parts = [
            (made(n, i, training=BASE, grain=5 * i), s)
            for i, (n, s) in enumerate([("a", 1.0), ("b", 2.0), ("c", 5.0)])
        ]
        mixed = mix_models(parts)
        for name, found in mixed.weights.items():
            a, b, c = (model.weights[name].astype(np.float64) for model, _ in parts)
            expected = (a + 2 * b + 5 * c) / 8
            assert found.dtype == np.float32
            assert np.abs(found - expected).max() <= 1e-6 * max(1.0, np.abs(expected).max())
        assert mixed.card.grain == 8  # 60 / 8 is 7.5
        assert mixed.card.name == "a+b+c"

    def test_card_lists_all_parts(self):
        card = mix_models(
            [
                (made("a", 0, training=BASE, title="A", year="1889"), 3),
                (made("b", 1, training=BASE, title="", year="1913"), 1),
            ]
        ).card
        assert card.title == "75% A + 25% b"
        assert (card.artist, card.year) == ("Vincent van Gogh", "1889, 1913")
        assert [(p["name"], p["share"]) for p in card.training["mixture"]] == [
            ("a", 0.75),
            ("b", 0.25),
        ]
        assert json.loads(json.dumps(card.to_dict()))["training"]["mixed_by"] == "weights"

    def test_single_style_is_returned_as_it_is(self):
        a, b = made("a", 0), made("b", 1)
        assert mix_models([(a, 2.0), (b, 0.0)]) is a

    def test_styles_that_cannot_be_mixed_are_refused(self):
        a, b = made("a", 0), made("b", 1)
        with pytest.raises(UsageError, match="a and b were not trained from one base"):
            mix_models([(a, 1), (b, 1)])
        with pytest.raises(UsageError, match="different sizes"):
            mix_models([(a, 1), (made("c", 1, config=NetworkConfig(3, 1)), 1)])
        for shares in ((-1, 2), (math.nan, 1), (math.inf, 1), (0, 0)):
            with pytest.raises(UsageError, match="share"):
                mix_models([(a, shares[0]), (b, shares[1])])
        with pytest.raises(UsageError, match="sum to 0"):
            mix_models([])


class TestFinding:
    def test_files_and_their_shares_are_found(self, styles):
        wave, scream = (styles / f"{name}.safetensors" for name in ("wave", "scream"))
        assert find_parts("wave:3,scream:1") == [(wave, 0.75), (scream, 0.25)]
        assert find_parts(f"wave:1,{wave}:1,scream:2") == [(wave, 0.5), (scream, 0.5)]
        assert find_parts("wave:1,scream:0") == [(wave, 1.0)]
        assert find_parts(wave) == [(wave, 1.0)]
        assert load_style("wave,scream").card.name == "wave+scream"

    def test_unknown_name_gets_suggestions(self, styles):
        with pytest.raises(StyleNotFoundError, match=r"named 'screm': did you mean scream"):
            find_parts("wave:0.5,screm:0.5")
        with pytest.raises(StyleNotFoundError, match="'nobody'"):
            find_parts("wave:1,nobody:0")

    @pytest.mark.skipif(os.name == "nt", reason="no such file names")
    @pytest.mark.parametrize("name", ["wave:0.5,scream:0.5", "wave,scream", "wave:2"])
    def test_file_of_exactly_that_name_is_preferred(self, styles, name):
        shutil.copy(styles / "night.safetensors", name)
        assert find_parts(name) == [(Path(name), 1.0)]
        shutil.copy(styles / "night.safetensors", styles / f"{name}.safetensors")
        assert find_parts(name) == [(styles / f"{name}.safetensors", 1.0)]


class TestStylizer:
    def test_weights_are_mixed_in_one_pass(self, photo):
        stylizer = Stylizer("wave:0.6,scream:0.4", engine="openvino", precision="fp32")
        assert stylizer.mixed_by == "weights"
        assert stylizer.card.name == "wave+scream"
        whole = np.asarray(stylizer.stylize(photo))
        model = mix_models([(load_style("wave"), 0.6), (load_style("scream"), 0.4)])
        assert np.array_equal(
            whole, np.asarray(Stylizer(model, engine="openvino", precision="fp32").stylize(photo))
        )

    def test_pictures_are_mixed_for_independent_styles(self, photo):
        stylizer = Stylizer("wave:0.5,night:0.3,scream:0.2", engine="openvino", precision="fp32")
        assert stylizer.mixed_by == "pictures"
        found = np.asarray(stylizer.stylize(photo)).astype(float)
        wave, night, scream = (pixels(name, photo) for name in ("wave", "night", "scream"))
        expected = 0.5 * wave + 0.3 * night + 0.2 * scream
        assert np.abs(found - expected).max() <= 1.01  # rounded once for each picture added
        assert np.abs(found - wave).mean() > 3

    @pytest.mark.parametrize("other", ["scream", "night"])
    def test_share_of_one_gives_the_style_itself(self, photo, other):
        for mixture, style in ((f"wave:1,{other}:0", "wave"), (f"wave:0,{other}:2", other)):
            stylizer = Stylizer(mixture, engine="openvino", precision="fp32")
            assert stylizer.mixed_by is None
            assert stylizer.card.name == style
            assert np.array_equal(np.asarray(stylizer.stylize(photo)), pixels(style, photo))

    def test_strength_colour_and_alpha_apply_to_mixtures(self, photo):
        for mixture in ("wave,scream", "wave,night"):
            stylizer = Stylizer(mixture, engine="openvino", precision="fp32")
            image = Image.open(photo).convert("RGBA")
            assert np.array_equal(np.asarray(stylizer.stylize(image, strength=0)), image)
            kept = stylizer.stylize(image, preserve_color=True, size=40)
            assert (kept.mode, max(kept.size)) == ("RGBA", 40)


class TestCommand:
    def test_command_mixes_by_weights(self, photo):
        result = invoke("stylize", photo, "--style", "wave:0.6,scream:0.4", "--precision", "fp32")
        assert result.code == 0
        assert "note" not in result.err
        (found,) = Path().glob("photo-*.png")
        assert found.name == "photo-wave+scream.png"

    def test_command_reports_mixing_by_pictures(self, photo):
        result = invoke("stylize", photo, "-s", "wave,night", "-o", "out.png", "--json")
        assert result.code == 0
        (note,) = [line for line in result.lines if "note" in line]
        assert "pictures" in note
        assert "differ in size or base" in note
        assert result.json["style"] == "wave,night"
        assert Path("out.png").is_file()
        quiet = invoke("stylize", photo, "-s", "wave,night", "-o", "out.png", "--quiet")
        assert (quiet.code, quiet.err) == (0, "")

    @pytest.mark.parametrize(
        ("mixture", "code", "says"),
        [
            ("wave:0.6,scream", 2, "only some styles have a share"),
            ("wave:0,scream:0", 2, "sum to 0"),
            ("wave:-1,scream:1", 2, "the share of wave is -1"),
            ("wave:0.6,scram:0.4", 1, "did you mean scream"),
        ],
    )
    def test_invalid_mixtures_give_one_line(self, photo, mixture, code, says):
        assert says in failure("stylize", photo, "--style", mixture, code=code)
        assert list(Path().glob("photo-*")) == []


def test_public_names():
    assert fast_style.parse_mixture is parse_mixture
    assert fast_style.mix_models is mix_models
