"""The public names: all of `__all__` exist, are documented, and are loaded on first use."""

import ast
import inspect
import re
import sys
from pathlib import Path

import pytest

import fast_style
from fast_style import errors


def test_all_is_complete():
    assert len(set(fast_style.__all__)) == len(fast_style.__all__)
    assert set(fast_style.__all__) == {"__version__", *fast_style._MODULE_OF}
    assert set(fast_style.__all__) <= set(dir(fast_style))


@pytest.mark.parametrize("name", fast_style.__all__)
def test_each_name_exists_and_is_documented(name):
    value = getattr(fast_style, name)
    assert value is getattr(fast_style, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__module__ == fast_style._MODULE_OF[name]
        assert inspect.getdoc(value)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(fast_style.__file__).read_text(encoding="utf-8"))
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {
        alias.name: statement.module
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert seen == fast_style._MODULE_OF


def test_errors_are_public():
    missing = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and not hasattr(fast_style, name)
    }
    # These and those below are for whoever imports the trainer, the jobs or the bulk runs.
    inner = (errors.TrainingError, errors.JobError, errors.BulkError)
    assert all(issubclass(getattr(errors, name), inner) for name in missing)


def test_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        _ = fast_style.frobnicate
    with pytest.raises(ImportError):
        exec("from fast_style import frobnicate")


def test_missing_torch_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "fast_style.models.network", raising=False)
    monkeypatch.delitem(vars(fast_style), "StyleNetwork", raising=False)
    with pytest.raises(fast_style.MissingExtraError, match=r"StyleNetwork.*fast-style\[torch\]"):
        _ = fast_style.StyleNetwork


def test_other_import_errors_are_not_hidden(monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_style.inference.stylizer", None)
    monkeypatch.delitem(vars(fast_style), "Stylizer", raising=False)
    with pytest.raises(ModuleNotFoundError, match="stylizer"):
        _ = fast_style.Stylizer


def test_version_is_a_plain_string():
    source = Path(fast_style.__file__).with_name("_version.py").read_text(encoding="utf-8")
    (written,) = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    assert written == fast_style.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", written)
