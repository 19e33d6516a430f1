"""Tasks: `nox -l` lists them, `nox -s NAME` runs one. They use the environment that runs nox."""

import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"  # torch once is enough
nox.options.sessions = ["test", "lint", "docs"]


def run(session: nox.Session, module: str, *arguments: str) -> None:
    """Run a module with the interpreter that runs nox."""
    session.run(sys.executable, "-m", module, *arguments, external=True)


@nox.session
def install(session: nox.Session) -> None:
    """Install the package, editable, with everything that tests and docs need."""
    run(session, "pip", "install", "-e", ".[dev]")


@nox.session
def test(session: nox.Session) -> None:
    """Run the tests; arguments after -- go to pytest."""
    run(session, "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format, types and the layers of imports."""
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")
    run(session, "mypy")
    session.run(str(Path(sys.executable).with_name("lint-imports")), external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into build/docs; warnings are errors."""
    run(session, "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", "build/docs")


@nox.session
def bench(session: nox.Session) -> None:
    """Run a benchmark: nox -s bench -- NAME ARGUMENTS."""
    if not session.posargs:
        session.error("which one? nox -s bench -- inference_speed --only warm")
    run(session, f"benchmarks.{session.posargs[0]}", *session.posargs[1:])
