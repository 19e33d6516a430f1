"""`fast-style styles`, `fast-style info`, and the command group."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fast_style import __version__
from fast_style.cli.exit_codes import one_line
from fast_style.cli.main import COMMANDS
from fast_style.cli.styles import table
from fast_style.models.model_file import save_model
from fast_style.styles import registry
from tests.commands import failure, invoke
from tests.conftest import SMALLEST, STYLE, make_card, make_weights


@pytest.fixture(autouse=True)
def place(workplace, monkeypatch) -> Path:
    """Hide all styles except the user's."""
    monkeypatch.setattr(registry, "__file__", str(workplace / "package" / "styles" / "registry.py"))
    return workplace


@pytest.fixture
def own(place, monkeypatch) -> Path:
    """Create an empty folder for the user's styles."""
    folder = place / "own"
    folder.mkdir()
    monkeypatch.setenv("FAST_STYLE_MODELS", str(folder))
    return folder


class TestStyles:
    def test_table_lists_styles(self):
        result = invoke("styles")
        assert (result.code, result.err) == (0, "")
        heading, row = result.out.splitlines()
        assert heading.split()[:5] == ["NAME", "TITLE", "ARTIST", "YEAR", "SIZES"]
        assert row.startswith(f"{STYLE}  Wheat Field with Cypresses  Vincent van Gogh  1889  ")
        assert heading.index("YEAR") == row.index("1889")

    def test_network_sizes_are_named(self, own):
        from fast_style.models.config import SIZES

        save_model(
            own / "a.safetensors", make_card("a", SIZES["tiny"]), make_weights(SIZES["tiny"])
        )
        assert invoke("styles").out.splitlines()[1].endswith("  tiny")

    def test_other_sizes_are_not_styles_of_their_own(self, own):
        from fast_style.models.config import SIZES

        for name, size in (("a", "standard"), ("a-tiny", "tiny"), ("b-tiny", "tiny")):
            card = replace(make_card(name, SIZES[size]), title=name[0])
            save_model(own / f"{name}.safetensors", card, make_weights(SIZES[size]))
        rows = {row["name"]: row["other_sizes"] for row in invoke("styles", "--json").json}
        assert rows == {"a": ["a-tiny"], "b-tiny": []}
        assert "  standard, tiny" in invoke("styles").out.splitlines()[1]

    def test_tags_and_order_come_from_the_catalogue(self, own):
        for name in ("a", "b", "c", "d"):
            save_model(own / f"{name}.safetensors", make_card(name), make_weights(SMALLEST))
        listed = [
            {"name": "c", "tags": ["ink", "bold"], "description": "Black lines."},
            {"name": "b", "tags": ["ink"], "description": "Grey lines."},
        ]
        (own / "catalogue.json").write_text(json.dumps(listed))
        rows = invoke("styles", "--json").json
        assert [row["name"] for row in rows] == ["c", "b", "a", "d"]
        assert rows[0]["description"] == "Black lines."
        assert [r["name"] for r in invoke("styles", "--json", "--tag", "INK").json] == ["c", "b"]
        both = invoke("styles", "--tag", "ink", "--tag", "bold").out.splitlines()
        assert [line.split()[0] for line in both] == ["NAME", "c"]
        text = failure("styles", "--tag", "oil", code=2)
        assert text == "no style has the tag 'oil'; there are bold, ink"

    @pytest.mark.parametrize("text", ["{", "3", '["a"]', '[{"name": "a"}]', "[null]"])
    def test_a_catalogue_that_is_none_is_left_alone(self, own, text):
        save_model(own / "a.safetensors", make_card("a"), make_weights(SMALLEST))
        (own / "catalogue.json").write_text(text)
        assert [row["tags"] for row in invoke("styles", "--json").json] == [[]]

    def test_json(self):
        result = invoke("styles", "--json")
        assert result.code == 0
        (row,) = result.json
        assert row["name"] == STYLE
        assert row["artist"] == "Vincent van Gogh"
        assert row["parameters"] > 0
        assert Path(row["path"]).is_file()

    def test_broken_files_are_reported_and_skipped(self, own):
        save_model(own / "sound.safetensors", make_card("sound"), make_weights(SMALLEST))
        (own / "broken.safetensors").write_bytes(b"no model")
        result = invoke("styles")
        assert result.code == 0
        assert [line.split()[0] for line in result.out.splitlines()] == ["NAME", "sound"]
        assert len(result.lines) == 1
        assert "broken cannot be used" in result.err
        rows = invoke("styles", "--json").json
        assert "problem" in rows[0]
        assert "problem" not in rows[1]

    def test_no_styles(self, own):
        result = invoke("styles")
        assert (result.code, result.out) == (0, "")
        assert str(own) in result.err
        assert invoke("styles", "--json").json == []


class TestTable:
    rows = (
        ("NAME", "TITLE", "ARTIST"),
        ("a-name-that-is-long", "A title that goes on and on", "Someone"),
    )

    def test_nothing_is_cut_without_a_terminal(self):
        assert table(list(self.rows), None)[1] == "  ".join(self.rows[1])

    def test_columns_are_aligned(self):
        lines = table(list(self.rows), 200)
        assert lines[0].index("TITLE") == lines[1].index("A title")

    def test_table_fits_the_terminal_and_keeps_names(self):
        for width in (60, 50, 45):
            lines = table(list(self.rows), width)
            assert max(map(len, lines)) <= width
            assert lines[1].startswith("a-name-that-is-long  A ti")
            assert "…" in lines[1] or width == 60

    def test_very_narrow_terminal(self):
        assert table(list(self.rows), 3)[1].startswith("a-name-that-is-long  ")

    def test_wide_characters_take_two_cells(self):
        lines = table([("A", "B"), ("神奈川沖浪裏", "x"), ("cafe\u0301", "x")], None)
        assert lines[1] == "神奈川沖浪裏  x"
        assert lines[2] == "cafe\u0301          x"

    def test_control_characters_are_escaped(self):
        assert "\x1b" not in table([("a\x1b[2J", "b\nc")], None)[0]


class TestInfo:
    def test_info_by_name_and_by_file(self, model_file):
        for style in (STYLE, model_file):
            result = invoke("info", style)
            assert (result.code, result.err) == (0, "")
            assert "Wheat Field with Cypresses" in result.out
            assert str(model_file) in result.out

    def test_info_shows_training_options(self, own):
        card = make_card(
            "a",
            training={"steps": 4000, "losses": {"style": 1e5, "layers": ["relu2_2"]}, "none": None},
            quality={"psnr": 31.5},
            thumbnail=b"webp",
        )
        save_model(own / "a.safetensors", card, make_weights(SMALLEST))
        lines = invoke("info", "a").out.splitlines()
        assert "  steps        4000" in lines
        assert '    layers       ["relu2_2"]' in lines
        assert "thumbnail    4 bytes of WebP" in lines
        assert not any("none" in line for line in lines)

    def test_json(self):
        document = invoke("info", STYLE, "--json").json
        assert document["name"] == STYLE
        assert document["network"] == SMALLEST.to_dict()
        assert document["parameters"] > 0
        assert document["format_version"] == 1

    def test_missing_style_is_reported(self):
        assert STYLE in failure("info", "wheat-fields")


class TestGroup:
    def test_version(self):
        assert invoke("--version").out == f"fast-style {__version__}\n"

    def test_help_lists_the_commands(self):
        text = invoke("--help").out
        for name, entry in COMMANDS.items():
            assert f"{name} " in text
            assert entry.help in text

    @pytest.mark.parametrize("name", COMMANDS)
    def test_each_command_can_be_loaded_and_has_help(self, name):
        result = invoke(name, "--help")
        assert result.code == 0
        assert "Usage:" in result.out
        assert "\b" not in result.out

    def test_no_command_shows_help(self):
        result = invoke()
        assert result.code == 2
        assert "Commands:" in result.err

    @pytest.mark.parametrize(
        ("given", "hint"), [("stylise", "did you mean stylize?"), ("xyzzy", "there are stylize")]
    )
    def test_unknown_command_suggests_a_similar_one(self, given, hint):
        assert hint in failure(given, code=2)

    @pytest.mark.parametrize("args", [["--debug", "info", "x"], ["info", "x", "--debug"]])
    def test_debug_before_and_after_the_command(self, args):
        result = invoke(*args)
        assert result.code == 1
        assert "Traceback" in result.err
        assert result.lines[-1].startswith("fast-style: there is no style")

    def test_unexpected_exception_is_reported_as_a_bug(self, monkeypatch):
        monkeypatch.setattr(registry, "list_styles", lambda: 1 / 0)
        text = failure("styles")
        assert text.startswith("this is a bug: ZeroDivisionError: division by zero")
        assert "--debug" in text

    def test_missing_package_names_the_extra(self, monkeypatch):
        entry = COMMANDS["info"]._replace(target="no_such_package:x", extra="train")
        monkeypatch.setitem(COMMANDS, "info", entry)
        text = failure("info", STYLE)
        assert "no_such_package" in text
        assert 'pip install "fast-style[train]"' in text


def test_one_line_escapes_control_characters():
    assert one_line("a\nb\tc \x1b[1m \u202e\udcff") == "a b c \\x1b[1m \\u202e\\udcff"
    assert one_line("Sternennacht für 神奈川") == "Sternennacht für 神奈川"


def test_json_is_ascii_and_one_document(own):
    save_model(own / "ü.safetensors", make_card("ü", title="神"), make_weights(SMALLEST))
    out = invoke("styles", "--json").out
    assert out.isascii()
    assert json.loads(out)[0]["title"] == "神"
