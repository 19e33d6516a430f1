"""Option bundles: their checks, the command-line options made from them, and the facades."""

import inspect
import pickle
from dataclasses import dataclass, fields
from typing import Literal

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fast_style.cli.options import options_from
from fast_style.errors import OptionError, UsageError
from fast_style.inference.contact_sheet import contact_sheet
from fast_style.inference.stylizer import Stylizer
from fast_style.options import (
    EngineOptions,
    OutputOptions,
    PipelineOptions,
    SheetOptions,
    StyleOptions,
    check_options,
    option,
)
from tests.commands import failure

NAN, INFINITY = float("nan"), float("inf")
BUNDLES = (StyleOptions, EngineOptions, OutputOptions, PipelineOptions, SheetOptions)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A bundle with every kind of field."""

    count: int = option("A count.", 1, minimum=1, maximum=9)
    share: float | None = option("A share.", None, above=0)
    side: Literal["auto", "off"] | float = option("A side.", "auto", minimum=0.5, maximum=16)
    kind: Literal["one", "two"] = option("A kind.", "one")
    flag: bool = option("A flag.", False)
    text: str = option("A text.", "")
    inner: int = option("Not on the command line.", 5, cli=False)

    def __post_init__(self) -> None:
        check_options(self)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("count", 0, "is 0; expected 1 or more"),
        ("count", 10, "is 10; expected 9 or less"),
        ("count", 2.0, "is 2.0; expected a whole number"),
        ("count", True, "is True; expected a whole number"),
        ("count", None, "is None; expected a whole number"),
        ("share", 0, "is 0; expected more than 0"),
        ("share", NAN, "is nan; expected more than 0"),
        ("share", INFINITY, "is inf; expected more than 0"),
        ("share", "0.5", "is '0.5'; expected a number"),
        ("side", 0.1, "is 0.1; expected auto, off or a number of 0.5 to 16"),
        ("side", NAN, "is nan; expected auto, off or a number of 0.5 to 16"),
        ("side", "on", "is 'on'; expected auto, off or a number of 0.5 to 16"),
        ("kind", "three", "is 'three'; expected one of one, two"),
        ("kind", 1, "is 1; expected one of one, two"),
        ("flag", 1, "is 1; expected True or False"),
    ],
)
def test_invalid_values_are_refused(name, value, problem):
    with pytest.raises(OptionError) as caught:
        Sample(**{name: value})
    assert (caught.value.option, caught.value.problem) == (name, problem)
    assert str(caught.value) == f"{name} {problem}"
    assert isinstance(caught.value, UsageError)


def test_valid_values_are_accepted():
    Sample(count=9, share=1e-9, side=0.5, kind="two", flag=True, text="anything")
    Sample(side="off", share=3)


def test_long_values_are_shortened_in_messages():
    with pytest.raises(OptionError) as caught:
        Sample(kind="x" * 500)
    assert len(str(caught.value)) < 130


def test_errors_survive_pickling():
    with pytest.raises(OptionError) as caught:
        Sample(count=0)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.option) == (str(caught.value), "count")


@given(st.floats(allow_nan=True))
def test_strength_is_accepted_exactly_in_its_range(value):
    if 0 <= value <= 1.5:
        assert StyleOptions(strength=value).strength == value
    else:
        with pytest.raises(OptionError, match="strength is"):
            StyleOptions(strength=value)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_defaults_are_valid_and_fields_are_documented(bundle):
    assert bundle() == bundle()
    assert all(spec.metadata["help"].endswith((".", "]")) for spec in fields(bundle))


@pytest.mark.parametrize(
    ("facade", "bundle"),
    [
        (Stylizer, EngineOptions),
        (Stylizer.stylize, StyleOptions),
        (contact_sheet, SheetOptions),
    ],
)
def test_keywords_of_the_facades_equal_the_fields(facade, bundle):
    keywords = inspect.signature(facade).parameters
    for spec in fields(bundle):
        assert keywords[spec.name].default == spec.default
        assert keywords[spec.name].kind is inspect.Parameter.KEYWORD_ONLY


class TestCommandLine:
    def run(self, *args):
        seen = []

        @click.command()
        @options_from(Sample, "sample")
        def command(sample):
            seen.append(sample)

        result = CliRunner().invoke(command, args)
        return (seen[0] if seen else None), result

    def test_options_become_the_bundle(self):
        args = ("--count", "3", "--share", "0.5", "--side", "2", "--kind", "TWO", "--flag")
        sample, _ = self.run(*args, "--text", "x")
        assert sample == Sample(count=3, share=0.5, side=2.0, kind="two", flag=True, text="x")

    def test_defaults_are_those_of_the_fields(self):
        assert self.run()[0] == Sample()

    def test_help_shows_choices_and_defaults(self):
        text = self.run("--help")[1].output
        assert "[one|two]" in text
        assert "[default: auto]" in text
        assert "--inner" not in text

    def test_values_are_checked_by_the_bundle(self):
        _, result = self.run("--side", "99")
        assert isinstance(result.exception, OptionError)
        assert self.run("--side", "on")[1].exit_code == 2

    def test_only_and_defaults(self):
        @click.command()
        @options_from(Sample, "sample", only=("count",), defaults={"count": 4})
        def command(sample):
            click.echo(sample.count)

        assert CliRunner().invoke(command).output == "4\n"
        assert CliRunner().invoke(command, ["--flag"]).exit_code == 2

    def test_message_names_the_flag(self, workplace):
        text = failure("stylize", "a.jpg", "-s", "x", "--stroke-size", "99", code=2)
        assert text == "--stroke-size is 99.0; expected auto or a number of 0.25 to 16"
