"""ARCHITECTURE.md has one line a file of the product, and none for a file that is gone."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHOWN = ("*.py", "fast_style/**/*.py", "benchmarks/**/*.py")


def test_every_file_has_its_line() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = re.findall(r"^- `([^`]+\.py)`: \S", page, flags=re.MULTILINE)
    there = {p.relative_to(ROOT).as_posix() for pattern in SHOWN for p in ROOT.glob(pattern)}
    assert sorted(named) == sorted(there)
