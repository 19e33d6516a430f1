"""README and docs keep their word: their commands run, their links lead somewhere.

Every fenced `sh` block is read. A `fast-style` command is run in this process, in a folder that has
the files that the pages speak of, with `LIMITS` appended so that it takes a moment. What cannot run
here (`NOT_RUN`, `OTHER_PROGRAMS`) is checked as far as possible without running it: options,
extras, tests, services, routes and form fields must exist. A command that is neither run nor listed
fails the test. Fenced `python` blocks are run likewise.
"""

import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
from PIL import Image

import fast_style
from fast_style.cli.main import COMMANDS, group
from fast_style.models.model_file import save_model
from tests.commands import CHECKOUT, invoke
from tests.conftest import SMALLEST, make_card, make_weights
from tests.training_photos import make_painting, make_photos
from tests.video_clips import moving_frames, write_clip

PAGES = sorted(
    path.relative_to(CHECKOUT).as_posix()
    for pattern in ("*.md", "docs/*.md", "saved_models/*.md", "examples/*/*.md", ".github/*.md")
    for path in CHECKOUT.glob(pattern)
)

TINY_RUN = (
    "--steps 2 --size tiny --batch-size 1 --crop-size 32 --style-size 32 --style-layers relu1_2 "
    "--content-layers relu1_2 --preview-every 0 --workers 0 --accelerator cpu --quiet"
)
LIMITS = {
    "train": TINY_RUN,
    "optimize": "--size 64 --iterations 2 --style-layers relu1_2 --content-layers relu1_2 --quiet",
    "stylize --polish": "--polish 1",
    "stylize --refine": "--refine 1",
    "models --refine": "--refine 1",
    "sheet": "--size 64 --style starry-night",
    "verify": "starry-night great-wave",
}
"""What is appended to a command of this name (and with this option); click takes the last value."""

PYTHON_LIMITS = {
    "max_minutes=10": 'steps=2, size="tiny", batch_size=1, crop_size=32, style_size=32, '
    'style_layers="relu1_2", content_layers="relu1_2", workers=0, accelerator="cpu"',
    "iterations=20": "iterations=2",
}
"""Replacements in `python` blocks."""

NOT_RUN = {
    r"^(serve|worker|demo)\b": "runs until it is stopped",
    r"^webcam\b": "needs a camera",
    r"\bs3://": "needs an object store",
    r"--address\b": "needs a Ray cluster",
    r"\bhttps?://": "needs the internet",
}
"""`fast-style` commands that are only parsed, and why."""

PYTHON_NOT_RUN = {"RemoteStylizer(": "needs a running service"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> Iterator[list[str]]:
        """Split a `sh` block into commands, each a list of words without assignments before it."""
        for line in self.text.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = [*lexer, "&&"]
            while words:
                end = words.index("&&")
                command, words = words[:end], words[end + 1 :]
                while command and re.match(r"[A-Z_]+=", command[0]):
                    del command[0]
                if command:
                    command[0] = command[0].removeprefix(".venv/bin/")
                    yield command


def blocks(page: str) -> Iterator[Block]:
    """Read the fenced `sh` and `python` blocks of a page."""
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    for match in re.finditer(r"^```(sh|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(page, text[: match.start()].count("\n") + 2, match[1], match[2])


PAGES_WITH_BLOCKS = [page for page in PAGES if any(blocks(page))]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file that the pages speak of; not to be changed."""
    import pyarrow
    from pyarrow import parquet

    from tests.foreign_networks import make_network

    folder = tmp_path_factory.mktemp("docs")
    make_photos(folder / "photos")
    with Image.open(CHECKOUT / "examples" / "coffee.jpg") as image:
        small = image.convert("RGB").resize((64, 48))
    for name in ("photo.jpg", "photo.png", "a.jpg", "b.jpg"):
        small.save(folder / name)
    (folder / "paintings").mkdir()
    for name in ("painting.jpg", "sky.jpg", "land.jpg", *(f"paintings/{n}.jpg" for n in range(3))):
        make_painting(folder / name)
    for name, color in (("sky.png", 255), ("land.png", 0)):
        mask = Image.new("L", small.size, color)
        mask.paste(255 - color, (0, 24, 64, 48))
        mask.save(folder / name)
    shutil.copy(folder / "sky.png", folder / "mask.png")
    (folder / "masks").mkdir()
    for photo in filter(Path.is_file, (folder / "photos").rglob("*")):
        mask.save(folder / "masks" / f"{photo.stem}.png")
    cut_out = small.copy()
    cut_out.putalpha(mask)
    cut_out.save(folder / "cut-out.png")
    write_clip(folder / "holiday.mp4", moving_frames(25))
    (folder / "frames").mkdir()
    save_model(folder / "wave.safetensors", make_card("wave"), make_weights(SMALLEST))
    import torch

    torch.save(make_network("pytorch-examples", 2, 1).state_dict(), folder / "candy.pth")
    rows = {"path": [str(folder / "photo.jpg")], "style": ["starry-night"]}
    parquet.write_table(pyarrow.table(rows), folder / "list.parquet")
    (folder / "examples").mkdir()
    shutil.copy(CHECKOUT / "examples" / "astronaut.jpg", folder / "examples")
    return folder


@pytest.fixture
def place(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: a copy of those files, and an empty folder for one's own styles."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("FAST_STYLE_MODELS", str(tmp_path / "own-models"))
    monkeypatch.setenv("FAST_STYLE_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES_WITH_BLOCKS)
def test_the_blocks_of_a_page_run_one_after_the_other(page, place):
    """From top to bottom, as a reader would: later blocks may use what earlier ones wrote."""
    for block in blocks(page):
        if block.language == "python":
            run_python(block)
            continue
        for words in block.commands():
            try:
                run_command(words)
            except Exception as error:
                raise AssertionError(f"{block.place}: {shlex.join(words)}: {error}") from error


def run_python(block: Block) -> None:
    code = block.text
    for before, after in PYTHON_LIMITS.items():
        code = code.replace(before, after)
    compiled = compile(code, block.place, "exec")
    if not any(mark in code for mark in PYTHON_NOT_RUN):
        exec(compiled, {"__name__": "__main__"})


def run_command(words: list[str]) -> None:
    """Run or check one command; raises an exception with the reason where it fails."""
    data = None
    if words[0] == "cat" and "|" in words:
        bar = words.index("|")
        data, words = Path(words[1]).read_bytes(), words[bar + 1 :]
    if words[0] != "fast-style":
        assert words[0] in OTHER_PROGRAMS, "neither run nor listed in OTHER_PROGRAMS"
        OTHER_PROGRAMS[words[0]](words[1:])
        return
    words, target = words[1:], None
    if ">" in words:
        words, target = words[: words.index(">")], words[-1]
    parse(words)
    if any(re.search(pattern, shlex.join(words)) for pattern in NOT_RUN):
        return
    limits = [
        more
        for name, more in LIMITS.items()
        if name.split()[0] == words[0] and set(name.split()) <= set(words)
    ]
    result = invoke(*words, *shlex.split(" ".join(limits)), input=data)
    assert result.code == 0, f"exit code {result.code}: {result.err}"
    if target is not None:
        Path(target).write_bytes(result.out_bytes)
    elif "-o" in words:
        output = words[words.index("-o") + 1].replace("%06d", "000001")
        assert Path(output).exists(), "there is no output"


def parse(words: list[str]) -> None:
    """Check command and options by click's own parser.

    Raises:
        click.UsageError: there is no such command or option, or a value is wrong.
    """
    command: click.Command = group
    context, rest = click.Context(group), list(words)
    while isinstance(command, click.Group):
        found = command.get_command(context, rest.pop(0))
        assert found is not None, "there is no such command"
        command = found
        if not isinstance(command, click.Group):
            command.make_context(command.name, rest, parent=context)


def project() -> dict[str, Any]:
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def check_pip(words: list[str]) -> None:
    """The extras exist."""
    assert words[0] == "install"
    for word in words[1:]:
        for extras in re.findall(r"^(?:\.|fast-style)\[(.+)\]$", word):
            assert set(extras.split(",")) <= set(project()["optional-dependencies"]), word


def check_python(words: list[str]) -> None:
    """The script or module exists."""
    if words[0] != "-m":
        assert (CHECKOUT / words[0]).exists() or list(CHECKOUT.glob(f"examples/*/{words[0]}"))
    elif words[1] != "venv":
        assert (CHECKOUT / f"{words[1].replace('.', '/')}.py").exists()


def check_pytest(words: list[str]) -> None:
    """The tests exist."""
    for word in words:
        assert not word.startswith("tests/") or (CHECKOUT / word.partition("::")[0]).exists(), word


def check_nox(words: list[str]) -> None:
    """The sessions exist."""
    source = (CHECKOUT / "noxfile.py").read_text(encoding="utf-8")
    sessions = set(re.findall(r"^@nox\.session\ndef (\w+)", source, re.MULTILINE))
    options = [*words, "--"]
    asked = options[: options.index("--")]
    if asked != ["-l"]:
        assert asked[0] == "-s"
        assert set(asked[1:]) <= sessions, f"sessions are {sorted(sessions)}"


def check_curl(words: list[str]) -> None:
    """The service has such a route, with such fields in its form."""
    from fast_style.service.app import create_app
    from fast_style.service.jobs.settings import JobSettings
    from fast_style.service.settings import ServiceSettings

    document = create_app(ServiceSettings(), JobSettings()).openapi()
    (url,) = (word for word in words if word.startswith("http"))
    path = url.removeprefix("http://127.0.0.1:8000")
    assert path in document["paths"], path
    text = json.dumps(document)
    for option, value in pairwise(words):
        if option == "-F":
            assert f'"{value.partition("=")[0]}":' in text, value


def check_docker(words: list[str]) -> None:
    """The services are in compose.yaml."""
    yaml = pytest.importorskip("yaml", reason="it is in the extra dev")
    assert words[:2] == ["compose", "up"]
    services = yaml.safe_load((CHECKOUT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(words[2:]) <= set(services), f"services are {sorted(services)}"


def check_npm(words: list[str]) -> None:
    """The package's scripts have it."""
    (package,) = CHECKOUT.glob("examples/*/package.json")
    assert words == ["install"] or words[0] in json.loads(package.read_text())["scripts"]


def check_ray(words: list[str]) -> None:
    """Ray's own command; it would start a cluster."""
    assert words[0] == "start"


def check_streamlit(words: list[str]) -> None:
    """It runs until it is stopped."""
    assert words[0] == "run"
    assert (CHECKOUT / words[1]).exists()


def check_source(words: list[str]) -> None:
    """It changes the shell."""
    assert words == [".venv/bin/activate"]


OTHER_PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "curl": check_curl,
    "docker": check_docker,
    "nox": check_nox,
    "npm": check_npm,
    "pip": check_pip,
    "pytest": check_pytest,
    "python": check_python,
    "python3": check_python,
    "ray": check_ray,
    "source": check_source,
    "streamlit": check_streamlit,
}
"""Programs other than `fast-style`: how their commands are checked without running them."""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fast-style stylise photo.jpg", "no such command"),
        ("fast-style stylize photo.jpg --style starry-night --stroke-sise 2", "No such option"),
        ("fast-style serve --port many", "not a valid integer"),
        ("fast-style stylize gone.jpg --style starry-night -o out.jpg", "exit code 1"),
        ("frobnicate photo.jpg", "neither run nor listed"),
        ('pip install "fast-style[gone]"', "gone"),
        ("nox -s gone", "sessions are"),
        ("pytest tests/test_gone.py", "test_gone"),
        ("curl -F photo=@photo.jpg http://127.0.0.1:8000/v1/gone", "v1/gone"),
        ("curl -F gone=1 http://127.0.0.1:8000/v1/stylize", "gone"),
        ("docker compose up gone", "services are"),
    ],
)
def test_a_wrong_command_is_found(text, reason, place):
    (words,) = Block("page", 1, "sh", text).commands()
    with pytest.raises((AssertionError, click.UsageError), match=re.escape(reason)):
        run_command(words)


def test_every_command_is_in_the_reference():
    text = (CHECKOUT / "docs" / "command-line.md").read_text(encoding="utf-8")
    named = re.findall(r"^```\{command-help\} (.+)$", text, re.MULTILINE)
    assert {name.split()[0] for name in named} == set(COMMANDS)


def test_every_public_name_is_in_the_reference():
    text = (CHECKOUT / "docs" / "python-api.md").read_text(encoding="utf-8")
    named = re.findall(r"^\.\. \w+(?::\w+)?:: fast_style\.(\w+)$", text, re.MULTILINE)
    assert sorted(named) == sorted(set(fast_style.__all__) - {"__version__"})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:\s]+)[^):]*\)", text) + re.findall(r'src="([^"]+)"', text)
    missing = [link for link in links if not (CHECKOUT / page).parent.joinpath(link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_named_benchmarks_and_tests_exist(page):
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    named = [
        f"{name.replace('.', '/')}.py" for name in re.findall(r"-m (benchmarks\.[a-z_]+)", text)
    ]
    named += re.findall(r"tests/test_\w+\.py", text)
    assert [name for name in named if not (CHECKOUT / name).exists()] == []


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_named_files_and_packages_exist(page):
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", text)
    assert named
    roots = (CHECKOUT, CHECKOUT / "fast_style")
    missing = [
        name
        for name in named
        if not re.search(r"NAME|^build/", name)
        and not any(root.joinpath(name + end).exists() for root in roots for end in ("", ".py"))
    ]
    assert missing == []


def test_the_readme_is_short():
    assert len((CHECKOUT / "README.md").read_text(encoding="utf-8").splitlines()) <= 180
