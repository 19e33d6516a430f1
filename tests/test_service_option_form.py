"""Forms made of option dataclasses: parsing, error sentences and the JSON schema."""

from dataclasses import dataclass
from typing import Literal

import pytest

pytest.importorskip("pydantic", reason="the service needs the extra serve")

from fast_style.errors import OptionError, UsageError
from fast_style.options import StyleOptions, option
from fast_style.service.option_form import OptionForm


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(StyleOptions):
    name: str = option("A name.")
    mode: Literal["luma", "histogram"] | None = option("Colour mode.", None)
    scale: Literal["auto"] | float = option("A scale.", "auto", minimum=0.25, maximum=16)
    rate: float | None = option("A rate.", None, above=0)
    secret: int = option("Not in the form.", 7)


FORM = OptionForm(Options, "the form", files=("photo",), hidden=("secret",), maximum={"size": 1000})


def test_texts_become_values_and_missing_fields_have_defaults():
    assert FORM.parse({"name": " a "}) == Options(name="a")
    texts = {"name": "a", "size": "12", "strength": ".5", "preserve_color": "TRUE"}
    texts |= {"mode": "Luma", "scale": "auto", "rate": "1e-3"}
    assert FORM.parse(texts) == Options(
        name="a", size=12, strength=0.5, preserve_color=True, mode="luma", rate=0.001
    )
    assert FORM.parse({"name": "a", "scale": "2"}).scale == 2.0


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ({}, "the field name is missing or empty: A name."),
        ({"name": " "}, "the field name is missing or empty: A name."),
        (
            {"name": "a", "sise": "1"},
            f"the form has no field 'sise'; it has photo, {', '.join(FORM.model.model_fields)}",
        ),
        ({"name": "a", "secret": "1"}, "the form has no field 'secret'"),
        ({"name": "a", "size": "0"}, "size is '0'; expected a whole number from 1 to 1000"),
        ({"name": "a", "size": "1001"}, "size is '1001'; expected a whole number from 1 to 1000"),
        ({"name": "a", "size": "1e2"}, "size is '1e2'; expected a whole number"),
        ({"name": "a", "size": "1_0"}, "size is '1_0'; expected a whole number"),
        ({"name": "a", "size": "\uff19"}, "size is '\uff19'; expected a whole number"),
        ({"name": "a", "strength": "nan"}, "strength is 'nan'; expected a number from 0 to 1.5"),
        (
            {"name": "a", "strength": "1e999"},
            "strength is '1e999'; expected a number from 0 to 1.5",
        ),
        ({"name": "a", "strength": ""}, "strength is ''; expected a number from 0 to 1.5"),
        (
            {"name": "a", "preserve_color": "1"},
            "preserve_color is '1'; expected one of luminance, histogram, chroma or true or false",
        ),
        ({"name": "a", "mode": "x" * 99}, f"mode is '{'x' * 60}'; expected one of luma, histogram"),
        (
            {"name": "a", "scale": "0"},
            "scale is '0'; expected auto or a number from 0.25 to 16",
        ),
        ({"name": "a", "rate": "0"}, "rate is '0'; expected a number above 0"),
    ],
)
def test_wrong_fields_are_refused_with_a_sentence(texts, sentence):
    with pytest.raises(UsageError) as caught:
        FORM.parse(texts)
    assert str(caught.value).startswith(sentence)
    wrong_value = "expected" in sentence
    assert isinstance(caught.value, OptionError) == wrong_value


def test_schema_has_types_bounds_defaults_and_help():
    schema = FORM.schema()
    assert schema["required"] == ["name"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert "secret" not in properties
    assert properties["name"] == {"type": "string", "description": "A name."}
    assert properties["strength"]["minimum"] == 0
    assert properties["strength"]["maximum"] == 1.5
    assert properties["strength"]["default"] == 1.0
    help_text = StyleOptions.__dataclass_fields__["strength"].metadata["help"]
    assert properties["strength"]["description"] == help_text
    # A form has no null: such a field is left out.
    assert properties["size"]["type"] == "integer"
    assert properties["size"]["maximum"] == 1000
    assert "default" not in properties["size"]
    assert properties["mode"]["enum"] == ["luma", "histogram"]
    assert properties["rate"]["exclusiveMinimum"] == 0


def test_a_stricter_bound_lowers_the_default():
    @dataclass(frozen=True, kw_only=True)
    class Sized:
        size: int = option("Size.", 512, minimum=32)

    form = OptionForm(Sized, "the form", maximum={"size": 256})
    assert form.parse({}).size == 256
    assert form.schema()["properties"]["size"]["default"] == 256
