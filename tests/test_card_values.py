"""Cards are text from anywhere: what is not valid is refused when a card is read or written."""

import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from fast_style.errors import ModelFileError, OptionError, shorten
from fast_style.models.card import METADATA_KEY, clean_values
from fast_style.models.model_file import (
    change_card,
    load_model,
    model_from_bytes,
    read_card,
    save_model,
)
from fast_style.training.config import TrainingConfig
from tests.commands import failure, invoke
from tests.conftest import SMALLEST, STYLE, make_card, make_weights

DATA = Path(__file__).parent / "data" / "models"


def write(path: Path, **changes: object) -> Path:
    """Write a model whose card has other values; a text is put into the JSON as it is."""
    card = json.dumps({**make_card().to_dict(), **changes})
    for key, value in changes.items():
        if isinstance(value, str) and value.startswith("RAW "):
            card = card.replace(json.dumps(value), value.removeprefix("RAW "))
            assert key in card
    save_file(make_weights(SMALLEST), path, {METADATA_KEY: card})
    return path


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = {"started_from": value}
    return value


BAD = {
    "surrogate": ({"title": 'RAW "a\\ud800b"'}, r"title is not valid Unicode \(a\\ud800b\)"),
    "surrogate in a list": ({"training": {"x": ["\udcff"]}}, r"training.x is not valid Unicode"),
    "surrogate in a key": ({"training": {"\ud800": 1}}, "training has a name that is not valid"),
    "NaN": ({"quality": {"x": math.nan}}, "quality.x is nan; expected a finite number"),
    "infinity": ({"quality": {"x": [1, -math.inf]}}, "quality.x is -inf; expected a finite"),
    "overflow": ({"grain": "RAW 1e999"}, "grain is inf; expected"),
    "huge number": ({"training": {"steps": 10**400}}, "training.steps is 10+.*; expected a finite"),
    "long title": ({"title": "a" * 1001}, "title has 1001 characters; at most 1000 fit"),
    "long text": ({"training": {"x": "a" * 20_000}}, "training.x has 20000 characters"),
    "deep": ({"training": deep(250)}, "nested more than 200 deep"),
    "number as a title": ({"title": 5}, "title in its card is not text"),
    "list as quality": ({"quality": [1]}, "quality in its card is not a JSON object"),
    "network of lists": ({"network": {"width": [[1] * 999]}}, "its network cannot be built"),
    "unknown network": ({"network": {"w" * 999: 1}}, "its network cannot be built"),
    "upsampling": ({"network": {"upsampling": "x" * 999}}, "its network cannot be built"),
    "grain": ({"grain": "x\n" * 999}, "grain is 'x"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_card_is_refused_when_it_is_read(tmp_path, name):
    changes, message = BAD[name]
    path = write(tmp_path / "bad.safetensors", **changes)
    for read in (read_card, load_model, lambda path: model_from_bytes(path.read_bytes(), "bad")):
        with pytest.raises(ModelFileError, match=message) as caught:
            read(path)
        said = str(caught.value).replace(str(path), "")
        assert said.isprintable()
        assert len(said) < 280


def test_card_of_a_long_line_of_trainings_is_read(tmp_path):
    path = write(tmp_path / "old.safetensors", training=deep(150))
    card = read_card(path)
    assert json.loads(json.dumps(card.to_dict(), allow_nan=False))["training"] == deep(150)


@pytest.mark.parametrize(
    ("field", "value"), [("title", "a\ud800"), ("artist", "a" * 1001), ("quality", {"x": math.nan})]
)
def test_bad_card_is_not_written(tmp_path, field, value):
    card = replace(make_card(), **{field: value})
    with pytest.raises(ModelFileError, match=rf"cannot be written: its {field}"):
        save_model(tmp_path / "new.safetensors", card, make_weights(SMALLEST))
    save_model(tmp_path / "old.safetensors", make_card(), make_weights(SMALLEST))
    with pytest.raises(ModelFileError, match="cannot be written"):
        change_card(tmp_path / "old.safetensors", card)
    assert read_card(tmp_path / "old.safetensors") == make_card()


def test_measured_values_are_made_fit_for_a_card(tmp_path):
    measured = {"loss": math.nan, "file": "caf\udce9.jpg", "more": [math.inf, 1.5, (2, None)]}
    fit = {"loss": None, "file": "caf\ufffd.jpg", "more": [None, 1.5, [2, None]]}
    assert clean_values(measured) == fit
    save_model(tmp_path / "a.safetensors", make_card(training=fit), make_weights(SMALLEST))
    assert read_card(tmp_path / "a.safetensors").training == fit


@pytest.mark.parametrize("title", ["a" * 1001, "a\udce9"])
def test_bad_titles_are_refused_before_a_training(title):
    with pytest.raises(OptionError, match="title cannot be on a card"):
        TrainingConfig(style_image=Path("painting.jpg"), name="new", title=title)


@pytest.fixture
def styles(tmp_path, model_file, monkeypatch):
    """Two files from the wild beside a sound one, and one with a name that is no text."""
    folder = tmp_path / "styles"
    folder.mkdir()
    shutil.copy(model_file, folder)
    for name in ("title_surrogate", "quality_nan"):
        shutil.copy(DATA / f"{name}.safetensors", folder)
    if sys.platform == "linux":
        shutil.copy(model_file, bytes(folder) + b"/caf\xe9.safetensors")
    shutil.copy(model_file, folder / "two\nlines.safetensors")
    monkeypatch.setenv("FAST_STYLE_MODELS", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def test_bad_files_do_not_take_other_styles_down(styles):
    for options in ((), ("--json",)):
        result = invoke("styles", *options)
        assert result.code == 0
        assert STYLE in result.out
        assert "quality_nan cannot be used" in result.err
        assert "title_surrogate cannot be used" in result.err
        assert "lines has characters that cannot be shown: rename it" in result.err
    problems = [row for row in invoke("styles", "--json").json if "problem" in row]
    assert len(problems) == (4 if sys.platform == "linux" else 3)
    message = failure("info", styles / "quality_nan.safetensors")
    assert "its quality.x is nan; expected a finite number" in message


def test_service_lists_the_others_and_answers_with_valid_json(styles):
    pytest.importorskip("fastapi", reason="the service needs the extra serve")
    from fast_style.service.app import create_app
    from fast_style.service.settings import ServiceSettings
    from tests.service_client import AppClient

    with AppClient(create_app(ServiceSettings(warm="none"))) as client:
        response = client.get("/v1/styles")
        assert response.status_code == 200
        names = [row["name"] for row in response.json()["styles"]]
        assert STYLE in names
        assert not {"quality_nan", "title_surrogate"} & set(names)
        assert client.get(f"/v1/styles/{STYLE}").status_code == 200
        for name in ("quality_nan", "title_surrogate", "x" * 3000):
            response = client.get(f"/v1/styles/{name}")
            assert response.status_code == 404
            assert len(response.json()["detail"]) < 160


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\t\x1b[31m", "two lines \\x1b[31m"),
        ("\ud800", "\\ud800"),
        ("a" * 81, "a" * 77 + "..."),
        ("a" * 80, "a" * 80),
        ("\x00" * 80, "\\x00" * 19 + "\\..."),
        ([1, "a"], "[1, 'a']"),
    ],
)
def test_what_messages_quote_is_one_short_line(found, shown):
    assert shorten(found) == shown
    assert len(shown) <= 80
