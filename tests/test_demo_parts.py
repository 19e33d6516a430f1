"""Parts of the demo: result cache, texts, figures of the tab About, and the command."""

import ast
import os
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hy

streamlit = pytest.importorskip("streamlit", reason="the demo needs the extra demo")

from streamlit.testing.v1 import AppTest  # noqa: E402

import fast_style  # noqa: E402
from fast_style.demo import about_tab, cache, page, session, text, upload_tab  # noqa: E402
from fast_style.images import Photo  # noqa: E402
from fast_style.models.model_file import save_model  # noqa: E402
from tests.commands import CHECKOUT, failure, invoke  # noqa: E402
from tests.conftest import SMALLEST, STYLE, make_card, make_weights  # noqa: E402


def make_result(bytes: int) -> cache.StylizedPhoto:
    """Make a result that takes a number of bytes, a multiple of 6."""
    pixels = np.zeros((1, bytes // 6, 3), np.uint8)
    return cache.StylizedPhoto(fast_style.Painted(Photo(pixels), pixels), 0.1, "none")


class TestResultCache:
    @settings(max_examples=60, deadline=None)
    @given(hy.lists(hy.tuples(hy.integers(0, 9), hy.integers(1, 20), hy.integers(0, 40))))
    def test_limits_of_bytes_and_age_hold(self, calls):
        now = [0.0]
        results = cache.ResultCache(300, 100.0, lambda: now[0])
        seen: dict[int, float] = {}
        for key, size, pause in calls:
            now[0] += pause
            found = results.get(key)
            if found is not None:
                assert now[0] - seen[key] <= 100
            else:
                results.put(key, make_result(6 * size))
                assert results.get(key) is not None
            seen[key] = now[0]
            assert results.bytes <= 300

    def test_least_recently_used_is_evicted_first(self):
        results = cache.ResultCache(300, 100.0)
        for key in "abc":
            results.put(key, make_result(96))
        results.get("a")
        results.put("d", make_result(96))
        assert [key for key in "abcd" if results.get(key)] == ["a", "c", "d"]

    def test_results_larger_than_the_limit_are_not_kept(self):
        results = cache.ResultCache(300, 100.0)
        results.put("a", make_result(306))
        assert results.get("a") is None
        assert results.bytes == 0

    def test_alpha_is_counted(self):
        pixels, alpha = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8)
        made = cache.StylizedPhoto(fast_style.Painted(Photo(pixels, alpha), pixels), 0.1, "none")
        assert made.bytes == 60 + 20 + 60


class TestTexts:
    @given(hy.text())
    def test_a_file_name_is_one_anywhere(self, any_text):
        names = (
            text.make_file_name(any_text, any_text, "WebP"),
            text.make_archive_name([any_text], [any_text]),
        )
        for name in names:
            assert name == Path(name).name
            assert name.lstrip("-.") == name
            assert len(name) < 200
            assert not set(name) & set('\\/:*?"<>|\n\0')

    def test_file_names_hold_photo_and_style(self):
        assert (
            text.make_file_name("My holiday.JPG", "great-wave", "PNG")
            == "My-holiday-great-wave.png"
        )
        assert text.make_archive_name(["a.jpg"], ["x", "y"]) == "a-2-styles.zip"
        assert text.make_archive_name(["a.jpg", "b.jpg"], ["x"]) == "2-photos-x.zip"
        assert text.make_archive_name(["a.jpg", "b.jpg"], ["x", "y"]) == "2-photos-2-styles.zip"

    @given(hy.lists(hy.sampled_from(["a.jpg", "A.jpg", "a-2.jpg", "b.png"]), max_size=8))
    def test_duplicate_names_are_numbered(self, names):
        made = text.number_duplicates(names)
        assert len({name.lower() for name in made}) == len(names)
        assert [Path(name).suffix for name in made] == [Path(name).suffix for name in names]

    def test_markdown_is_escaped(self):
        shown = text.escape_markdown("a *b* [c](d) <e>\n# f :red[g] $h$")
        assert shown == r"a \*b\* \[c\]\(d\) \<e\> \# f \:red\[g\] \$h\$"


json_values = hy.recursive(
    hy.none() | hy.booleans() | hy.floats() | hy.text(max_size=3),
    lambda inner: (
        hy.lists(inner, max_size=3)
        | hy.dictionaries(hy.sampled_from(["step", "content", "median", "quartiles"]), inner)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("network", "title"),
    [
        (fast_style.SIZES["standard"], "Waves"),
        (fast_style.SIZES["full"], "Waves (full)"),
        (fast_style.SIZES["tiny"], "Waves (tiny)"),
        (SMALLEST, "Waves"),
    ],
)
def test_title_includes_a_size_other_than_standard(network, title):
    assert session.Style("waves", make_card(config=network, title="Waves")).title == title


class TestFigures:
    def test_curve_points_are_read(self):
        curve = {"step": [1, 2], "content": [3.0, 2.0], "style": [0.0, 4.0], "total": [1.0]}
        points = about_tab.read_curve_points({"curve": curve})
        assert points == [
            {"step": 1.0, "loss": "content", "value": 3.0},
            {"step": 2.0, "loss": "content", "value": 2.0},
            {"step": 2.0, "loss": "style", "value": 4.0},
        ]
        assert about_tab.read_curve_points({}) == []

    @given(hy.dictionaries(hy.sampled_from(["curve", "photos", "seconds", "device"]), json_values))
    def test_any_card_is_accepted(self, values):
        card = make_card(training=values, quality={"photos_of_256_px": values, "x": values})
        about_tab.read_curve_points(card.training)
        about_tab.read_quality_rows(card)
        about_tab.collect_training_facts(card)

    def test_quality_rows_are_read(self):
        spread = {"median": 60.5, "quartiles": [40.0, 80.0]}
        card = make_card(quality={"photos_of_256_px": {"equals_iteration": spread, "photos": 20}})
        assert about_tab.read_quality_rows(card) == [
            {"photos": "256 px", "by": "trained layers", "median": 60.5, "low": 40.0, "high": 80.0}
        ]

    def test_network_rows_of_size_full(self):
        rows = about_tab.make_network_rows(fast_style.SIZES["full"])
        assert [row["Channels"] for row in rows] == ["32", "64", "128", "128", "64", "32", "3"]
        assert rows[3]["Layer"] == "5 residual blocks"


def test_about_tab_shows_facts_and_curve(workplace, model_file, monkeypatch):
    for cached in (streamlit.cache_data, streamlit.cache_resource):
        cached.clear()
    folder = workplace / "styles"
    curve = {"step": [1, 2, 3], "content": [3.0, 2.0, 1.0], "style": [9.0, 4.0, 1.0]}
    spread = {"median": 60.0, "quartiles": [40.0, 80.0]}
    card = make_card(
        "known",
        training={"photos": 1234, "steps_taken": 500, "curve": curve},
        quality={"photos_of_256_px": {"equals_iteration": spread}},
    )
    save_model(folder / "known.safetensors", card, make_weights(SMALLEST))
    shutil.copy(model_file, folder)
    monkeypatch.setenv("FAST_STYLE_MODELS", str(folder))
    at = AppTest.from_file(CHECKOUT / "streamlit_main.py", default_timeout=60)
    at.session_state["tab"] = "About"
    at.query_params["style"] = ["known"]
    at.run()
    assert not at.exception
    assert any("Photos: 1,234" in element.value for element in at.markdown)
    assert len(at.get("vega_lite_chart") or at.get("arrow_vega_lite_chart")) == 2
    at = at.selectbox(key="about-style").select(STYLE).run()
    assert not at.get("vega_lite_chart") + at.get("arrow_vega_lite_chart")
    assert any("has no training curve" in element.value for element in at.caption)


class TestRules:
    def test_only_public_names_are_imported(self):
        files = [*CHECKOUT.glob("fast_style/demo/*.py"), CHECKOUT / "streamlit_main.py"]
        assert len(files) > 8
        for path in files:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fast_st"):
                    own = node.module.startswith("fast_style.demo")
                    names = {alias.name for alias in node.names}
                    assert own or names <= set(fast_style.__all__), (path.name, node.module)
                    assert own or node.module == "fast_style"
                elif isinstance(node, ast.Import):
                    assert not any(alias.name.startswith("fast_style") for alias in node.names)

    def test_limits_agree_with_the_configuration(self):
        with (CHECKOUT / ".streamlit" / "config.toml").open("rb") as file:
            config = tomllib.load(file)
        assert config["server"]["maxUploadSize"] == session.MAX_FILE_MB
        assert upload_tab.MAX_MODEL_MB <= session.MAX_FILE_MB
        assert {"light", "dark"} <= set(config["theme"])
        assert config["browser"]["gatherUsageStats"] is False

    def test_uploads_stay_in_memory(self):
        parsers = pytest.importorskip("starlette.formparsers")
        page._keep_uploads_in_memory()
        assert parsers.MultiPartParser.spool_max_size >= session.MAX_FILE_MB * 1_000_000

    def test_no_address_outside_the_page(self):
        for path in (CHECKOUT / "fast_style" / "demo").iterdir():
            if path.suffix in (".css", ".js", ".html", ".py"):
                assert "http" not in path.read_text(encoding="utf-8"), path.name


class TestCommand:
    def test_it_starts_streamlit_with_the_page(self, monkeypatch):
        started = []
        monkeypatch.setattr(os, "name", "posix")
        monkeypatch.setattr(os, "execv", lambda program, command: started.append(command))
        result = invoke("demo", "--port", "8765", "--no-browser")
        assert result.code == 0, result.err
        ((program, *arguments),) = started
        assert program == sys.executable
        assert arguments[:3] == ["-m", "streamlit", "run"]
        assert arguments[3] == str(CHECKOUT / "streamlit_main.py")
        assert {"--server.port=8765", "--server.headless=true"} <= set(arguments)

    def test_port_0_takes_a_free_port(self, monkeypatch):
        started = []
        monkeypatch.setattr(os, "execv", lambda program, command: started.append(command))
        invoke("demo", "--port", "0")
        (port,) = [x for x in started[0] if x.startswith("--server.port=")]
        assert 1024 <= int(port.partition("=")[2]) <= 65535

    def test_without_streamlit_it_names_the_extra(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert 'pip install "fast-style[demo]"' in failure("demo")

    def test_wheel_includes_page_configuration_and_samples(self):
        with (CHECKOUT / "pyproject.toml").open("rb") as file:
            wheel = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["wheel"]
        included = wheel["force-include"]
        assert included["streamlit_main.py"] == "fast_style/demo/streamlit_main.py"
        target = "fast_style/demo/.streamlit/config.toml"
        assert included[".streamlit/config.toml"] == target
        photos = {path.name for path in (CHECKOUT / "examples").glob("*.jpg")}
        assert photos == {Path(k).name for k in included if k.startswith("examples/")}
        assert photos == {shot.name for shot in session.load_sample_photos().values()}
