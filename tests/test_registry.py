import os
import shutil
from pathlib import Path

import pytest

from fast_style.errors import ModelFileError, StyleNotFoundError
from fast_style.models.model_file import save_model
from fast_style.styles import registry
from fast_style.styles.registry import (
    find_style,
    list_styles,
    load_style,
    style_folders,
    user_folder,
)
from tests.conftest import SMALLEST, STYLE, make_card, make_weights


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The current directory's models and the user's, both empty, and none that ship."""
    here, user = tmp_path / "here", tmp_path / "user"
    (here / "saved_models").mkdir(parents=True)
    user.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("FAST_STYLE_MODELS", str(user))
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "package" / "styles" / "registry.py"))
    return here / "saved_models", user


def put(folder: Path, name: str) -> Path:
    path = folder / f"{name}.safetensors"
    save_model(path, make_card(name), make_weights(SMALLEST))
    return path


class TestFolders:
    def test_folders_are_current_then_user_then_shipped(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("FAST_STYLE_MODELS", str(tmp_path / "mine"))
        package = tmp_path / "site" / "fast_style"
        monkeypatch.setattr(registry, "__file__", str(package / "styles" / "registry.py"))
        assert style_folders() == [
            tmp_path / "saved_models",
            tmp_path / "mine",
            package / "saved_models",
        ]

    def test_checkout_includes_the_folder_beside_the_package(self, tmp_path, monkeypatch):
        package = tmp_path / "checkout" / "fast_style"
        package.mkdir(parents=True)
        monkeypatch.setattr(registry, "__file__", str(package / "styles" / "registry.py"))
        assert package.parent / "saved_models" not in style_folders()
        (package.parent / "pyproject.toml").touch()
        assert package.parent / "saved_models" in style_folders()

    def test_folder_is_listed_once_in_a_checkout(self, tmp_path, monkeypatch):
        (tmp_path / "pyproject.toml").touch()
        monkeypatch.setattr(
            registry, "__file__", str(tmp_path / "fast_style" / "styles" / "registry.py")
        )
        monkeypatch.chdir(tmp_path)
        assert style_folders().count(tmp_path / "saved_models") == 1

    def test_user_folder_is_in_the_data_directory_by_default(self, tmp_path, monkeypatch):
        monkeypatch.delenv("FAST_STYLE_MODELS", raising=False)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        folder = user_folder()
        assert folder.parts[-2:] == ("fast-style", "models")
        if os.name == "posix" and os.uname().sysname == "Linux":
            assert folder == tmp_path / "fast-style" / "models"

    def test_deleted_current_directory_is_skipped(self, tmp_path, monkeypatch):
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        gone.rmdir()
        assert style_folders()


class TestList:
    def test_no_styles(self, folders):
        assert list_styles() == []

    def test_styles_are_sorted_and_have_cards(self, folders):
        here, user = folders
        path = put(here, "scream")
        put(user, "cypresses")
        first, second = list_styles()
        assert (first.name, second.name) == ("cypresses", "scream")
        assert second.path == path
        assert second.problem is None
        assert second.card is not None
        assert second.card.artist == "Vincent van Gogh"

    def test_sizes_of_a_style_are_separate_names(self, folders):
        for name in ("starry-night", "starry-night-full", "starry.night"):
            put(folders[0], name)
        assert [entry.name for entry in list_styles()] == [
            "starry-night",
            "starry-night-full",
            "starry.night",
        ]

    def test_first_folder_with_a_name_is_used(self, folders):
        here, user = folders
        put(user, "scream")
        path = put(here, "scream")
        assert [entry.path for entry in list_styles()] == [path]

    def test_replaced_file_is_read_again(self, folders):
        path = put(folders[0], "scream")
        assert list_styles()[0].card.title == make_card().title
        save_model(path, make_card("scream", title="Another title"), make_weights(SMALLEST))
        assert list_styles()[0].card.title == "Another title"
        path.write_bytes(b"no model")
        assert list_styles()[0].problem is not None

    def test_damaged_file_is_listed_with_its_problem(self, folders):
        here, _ = folders
        put(here, "sound")
        (here / "broken.safetensors").write_bytes(b"no model")
        (here / "folder.safetensors").mkdir()
        broken, folder, sound = list_styles()
        assert broken.card is None
        assert broken.problem is not None
        assert "broken.safetensors" in broken.problem
        assert folder.problem is not None
        assert sound.problem is None

    def test_other_files_are_not_styles(self, folders):
        here, _ = folders
        for name in ("README.md", "model.pth", ".hidden.safetensors"):
            (here / name).write_bytes(b"x")
        assert list_styles() == []


class TestFind:
    def test_by_name(self, folders):
        assert find_style(put(folders[0], "scream").stem) == folders[0] / "scream.safetensors"

    def test_by_name_with_suffix(self, folders):
        path = put(folders[1], "scream")
        assert find_style("scream.safetensors") == path

    def test_by_path(self, folders, tmp_path):
        path = put(tmp_path, "elsewhere")
        assert find_style(path) == path
        assert find_style(str(path)) == path

    def test_style_name_is_preferred_to_a_file(self, folders):
        path = put(folders[0], "scream")
        Path("scream").write_bytes(b"something else")
        assert find_style("scream") == path
        assert find_style(os.path.join(".", "scream")) == Path("scream")

    def test_file_with_another_suffix(self, folders):
        Path("model.pth").write_bytes(b"x")
        assert find_style("model.pth") == Path("model.pth")

    def test_folder_is_not_found_by_name(self, folders):
        Path("scream").mkdir()
        with pytest.raises(StyleNotFoundError, match="no style named 'scream'"):
            find_style("scream")

    @pytest.mark.parametrize(
        ("meant", "nearest"),
        [
            ("stary-night", "starry-night"),
            ("Starry-Night", "starry-night"),
            ("starry night", "starry-night"),
            ("night", "starry-night"),
            ("screm", "the-scream"),
        ],
    )
    def test_similar_names_are_suggested(self, folders, meant, nearest):
        for name in ("starry-night", "the-scream", "zebra"):
            put(folders[0], name)
        with pytest.raises(StyleNotFoundError) as caught:
            find_style(meant)
        text = str(caught.value)
        assert f"did you mean {nearest}" in text
        assert "zebra" not in text
        assert "fast-style styles" in text

    def test_all_names_are_listed_if_none_is_similar(self, folders):
        put(folders[0], "zebra")
        with pytest.raises(StyleNotFoundError, match="there are zebra"):
            find_style("qqq")

    def test_folders_are_listed_if_there_are_no_styles(self, folders):
        with pytest.raises(StyleNotFoundError, match="user"):
            find_style("scream")

    @pytest.mark.parametrize("text", ["", "nowhere/scream", "scream.safetensors", "x" * 5000])
    def test_missing_files_are_refused(self, folders, text):
        with pytest.raises(StyleNotFoundError):
            find_style(text)


class TestLoad:
    def test_by_name(self, workplace):
        model = load_style(STYLE)
        assert model.card.name == STYLE
        assert set(model.weights) == set(make_weights(SMALLEST))

    def test_damaged_file_is_refused(self, folders):
        (folders[0] / "broken.safetensors").write_bytes(b"no model")
        with pytest.raises(ModelFileError, match="safetensors"):
            load_style("broken")

    def test_shipped_styles_are_found(self, monkeypatch, tmp_path):
        monkeypatch.setenv("FAST_STYLE_MODELS", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        shipped = Path(registry.__file__).parents[2] / "saved_models"
        expected = {path.stem for path in shipped.glob("*.safetensors")}
        assert {entry.name for entry in list_styles()} == expected
        assert all(entry.problem is None for entry in list_styles())

    def test_unreadable_folder_is_skipped(self, folders, monkeypatch):
        put(folders[0], "scream")
        shutil.rmtree(folders[1])
        folders[1].write_bytes(b"a file where a folder should be")
        assert [entry.name for entry in list_styles()] == ["scream"]
