"""The options of the jobs, each with its help, default and check; imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fast_style.errors import UsageError
from fast_style.options import check_options, option

WorkerChoice = Literal["own", "elsewhere"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """Where jobs are kept and how much they may ask for; each field's metadata says what it is."""

    database: str = option(
        "Where jobs are kept: sqlite:///FILE, or postgresql://USER@HOST/NAME for several workers.  "
        "[default: SQLite in your data folder]",
        "",
        metavar="URL",
        envvar="FAST_STYLE_DATABASE",
    )
    results: str = option(
        "Folder, or fsspec URL such as s3://bucket/jobs, for inputs and results.  "
        "[default: in your data folder]",
        "",
        metavar="FOLDER|URL",
        envvar="FAST_STYLE_RESULTS",
    )
    worker: WorkerChoice = option(
        "Who does the jobs: own is a process that the service starts and keeps alive, elsewhere "
        "are processes of `fast-style worker`.",
        "own",
    )
    expiry_hours: float = option(
        "A job's files are deleted so many hours after its end.", 24.0, above=0, maximum=24 * 3650
    )
    jobs_at_once: int = option("Jobs that a worker does at once.", 1, minimum=1, maximum=64)
    checkpoint_seconds: float = option(
        "How often an optimisation leaves a checkpoint: as much is done again after a kill.",
        3.0,
        minimum=0,
        maximum=600,
    )
    queue_limit: int = option("Jobs that may wait; beyond that comes 503.", 100, minimum=1)
    batch_photos: int = option("Photos in a batch at most.", 1000, minimum=1, maximum=60_000)
    batch_megabytes: float = option("Size of a batch's ZIP at most.", 1024.0, above=0)
    unpacked_megabytes: float = option("Size of its photos, unpacked, at most.", 4096.0, above=0)
    optimize_size: int = option(
        "Long side of an optimised picture at most, in pixels.", 1024, minimum=32, maximum=16384
    )
    optimize_iterations: int = option("Iterations of an optimisation at most.", 1000, minimum=1)
    optimize_paintings: int = option("Paintings of an optimisation at most.", 4, minimum=1)

    def __post_init__(self) -> None:
        """Check every value, and fill in the defaults that depend on the user's folders.

        Raises:
            UsageError: one that is out of its range, or a database that is neither of the two.
        """
        check_options(self)
        if not self.database or not self.results:
            from platformdirs import user_data_path  # not needed where both are given

            folder = user_data_path("fast-style", appauthor=False)
            if not self.database:
                object.__setattr__(self, "database", f"sqlite:///{folder / 'jobs.sqlite'}")
            if not self.results:
                object.__setattr__(self, "results", str(folder / "jobs"))
        if not self.database.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            raise UsageError(
                f"--database is {self.database!r}; expected sqlite:///FILE or "
                "postgresql://USER@HOST/NAME"
            )
        if self.sqlite_file is None and self.database.startswith("sqlite"):
            raise UsageError("--database names no file; expected sqlite:///FILE")

    @property
    def sqlite_file(self) -> Path | None:
        """The file of the SQLite database, None if it is PostgreSQL."""
        name = self.database.removeprefix("sqlite:///")
        return Path(name) if name and name != self.database else None

    def worker_environment(self) -> dict[str, str]:
        """Give what `fast-style worker` reads from its environment.

        A password in the URL would be seen by all users of the machine if it were an argument.
        """
        return {"FAST_STYLE_DATABASE": self.database, "FAST_STYLE_RESULTS": self.results}

    def worker_options(self) -> list[str]:
        """Give the other options of `fast-style worker` for a worker of these settings."""
        return [
            f"--jobs-at-once={self.jobs_at_once}",
            f"--checkpoint-seconds={self.checkpoint_seconds}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Give all options as plain JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}
