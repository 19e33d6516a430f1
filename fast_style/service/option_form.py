"""Forms whose fields are the options of a dataclass: parsed and described by a pydantic model.

The fields made with `fast_style.options.option` are the only source: their types, bounds, defaults
and help texts become those of the form and of its OpenAPI schema.
"""

from __future__ import annotations

import copy
import functools
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from types import NoneType
from typing import Annotated, Any, Generic, Literal, TypeVar, get_type_hints

import pydantic

from fast_style.errors import OptionError, UsageError
from fast_style.options import split_hint

__all__ = ["OptionForm"]

T = TypeVar("T")

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_SHOWN = 60


class OptionForm(Generic[T]):
    """A form, each field of which is an option of a dataclass.

    Attributes:
        model: the pydantic model of the form.
    """

    def __init__(
        self,
        options: type[T],
        subject: str,
        *,
        files: Sequence[str] = (),
        hidden: Sequence[str] = (),
        maximum: Mapping[str, int] | None = None,
    ) -> None:
        """Make the model of a form.

        Args:
            options: the dataclass, whose fields are made with `fast_style.options.option`.
            subject: what has the fields, for error messages, such as "the form".
            files: names of the form's files, which are not options, for error messages.
            hidden: options that the form does not have; they keep their defaults.
            maximum: stricter upper bounds; a default above one is lowered to it.
        """
        self._options, self._subject, self._files = options, subject, tuple(files)
        hints, maximum = get_type_hints(options), maximum or {}
        self._expected: dict[str, str] = {}
        self._help: dict[str, str] = {}
        model_fields: dict[str, Any] = {}
        for spec in fields(options):  # type: ignore[arg-type]
            if spec.name in hidden:
                continue
            bounds = dict(spec.metadata)
            if spec.name in maximum:
                bounds["maximum"] = min(maximum[spec.name], bounds.get("maximum", float("inf")))
            self._expected[spec.name] = _expected(hints[spec.name], bounds)
            self._help[spec.name] = bounds["help"]
            model_fields[spec.name] = (
                _annotation(hints[spec.name], bounds),
                pydantic.Field(default=_default(spec, maximum), description=bounds["help"]),
            )
        self.model: type[pydantic.BaseModel] = pydantic.create_model(
            options.__name__,
            __config__=pydantic.ConfigDict(extra="forbid", str_strip_whitespace=True),
            **model_fields,
        )

    def parse(self, texts: Mapping[str, str]) -> T:
        """Parse the fields of a form.

        Args:
            texts: the fields as text; one that is missing has its default.

        Raises:
            UsageError: a field is unknown, missing, or not of its type or within its bounds.
        """
        for spec in fields(self._options):  # type: ignore[arg-type]
            if spec.default is MISSING and not texts.get(spec.name, "").strip():
                raise UsageError(
                    f"the field {spec.name} is missing or empty: {self._help[spec.name]}"
                )
        try:
            parsed = self.model.model_validate(dict(texts))
        except pydantic.ValidationError as error:
            raise self._usage_error(error, texts) from error
        return self._options(**parsed.model_dump())

    def refuse_unknown(self, name: str) -> UsageError:
        """Return the error for a field or file that the form does not have."""
        known = ", ".join((*self._files, *self._expected))
        return UsageError(f"{self._subject} has no field {name[:_SHOWN]!r}; it has {known}")

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the form, without its files."""
        return copy.deepcopy(self._schema)

    @functools.cached_property
    def _schema(self) -> dict[str, Any]:
        schema = self.model.model_json_schema()
        schema.pop("title", None)
        for described in schema["properties"].values():
            described.pop("title", None)
            if described.get("default", ...) is None:
                del described["default"]
        return schema

    def _usage_error(self, error: pydantic.ValidationError, texts: Mapping[str, str]) -> UsageError:
        details = error.errors(include_url=False)
        unknown = [one for one in details if one["type"] == "extra_forbidden"]
        name = str((unknown or details)[0]["loc"][0])
        if unknown:
            return self.refuse_unknown(name)
        text = texts.get(name, "")
        return OptionError(name, f"is {text[:_SHOWN]!r}; expected {self._expected[name]}")


def _annotation(hint: Any, bounds: Mapping[str, Any]) -> Any:
    """Return the type of an option for pydantic: how its text is parsed, with its bounds."""
    choices, types = split_hint(hint)
    limits = {
        keyword: bounds[bound]
        for bound, keyword in (("minimum", "ge"), ("maximum", "le"), ("above", "gt"))
        if bound in bounds
    }
    parts: list[Any] = [Literal[choices]] if choices else []
    for kind in types:
        if kind is float:
            parts.append(Annotated[float, pydantic.Field(allow_inf_nan=False, **limits)])
        elif kind is int:
            parts.append(Annotated[int, pydantic.Field(**limits)])
        elif kind is not NoneType:  # a form has no null: the field is left out
            parts.append(kind)
    return Annotated[
        functools.reduce(operator.or_, parts), pydantic.BeforeValidator(_prepare(choices, types))
    ]


def _prepare(choices: Sequence[str], types: Sequence[type]) -> Any:
    """Return a function that is stricter with texts than pydantic, which takes "on" for true."""

    def prepare(text: str) -> str:
        stripped = text.strip()
        if choices and stripped.lower() in choices:
            return stripped.lower()
        if bool in types and stripped.lower() not in ("true", "false"):
            raise ValueError("neither true nor false")
        if (int in types or float in types) and not _NUMBER.fullmatch(stripped):
            raise ValueError("not a number")
        return stripped

    return prepare


def _default(spec: Field[Any], maximum: Mapping[str, int]) -> Any:
    if spec.default is MISSING:
        return ...
    if spec.name in maximum and spec.default is not None:
        return min(spec.default, maximum[spec.name])
    return spec.default


def _expected(hint: Any, bounds: Mapping[str, Any]) -> str:
    """Describe the values of an option, such as "a number from 0 to 1"."""
    choices, types = split_hint(hint)
    lowest, highest, above = (bounds.get(key) for key in ("minimum", "maximum", "above"))
    known = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    said = [known[kind] for kind in types if kind is not NoneType]
    if lowest is not None and highest is not None:
        said[-1] += f" from {lowest:g} to {highest}"
    elif lowest is not None:
        said[-1] += f" of {lowest} or more"
    elif above is not None:
        said[-1] += f" above {above:g}" + ("" if highest is None else f", {highest} or less")
    elif highest is not None:
        said[-1] += f" of {highest} or less"
    if choices:
        said.insert(0, choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}")
    return " or ".join(said)
