"""The options of the jobs, with help texts, defaults and checks; imports nothing large."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fast_style.errors import UsageError
from fast_style.options import check_options, option

WorkerChoice = Literal["own", "elsewhere"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """Where jobs are stored, and their limits; each field's metadata has its help text."""

    database: str = option(
        "Database of the jobs: sqlite:///FILE, or postgresql://USER@HOST/NAME for several "
        "workers.  [default: SQLite in your data folder]",
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
        "Who does the jobs: own is a process that the service starts and restarts, elsewhere are "
        "processes of `fast-style worker`.",
        "own",
    )
    expiry_hours: float = option(
        "Hours after a job's end until its files are deleted.", 24.0, above=0, maximum=24 * 3650
    )
    jobs_at_once: int = option("Jobs that a worker runs at once.", 1, minimum=1, maximum=64)
    checkpoint_seconds: float = option(
        "Seconds from one checkpoint of an optimisation to the next: the work that a kill costs.",
        3.0,
        minimum=0,
        maximum=600,
    )
    queue_limit: int = option("Jobs that may wait; more are answered with 503.", 100, minimum=1)
    batch_photos: int = option("Most photos of a batch.", 1000, minimum=1, maximum=60_000)
    batch_megabytes: float = option(
        "Largest ZIP of a batch, in millions of bytes.", 1024.0, above=0
    )
    unpacked_megabytes: float = option(
        "Largest total size of its photos, unpacked, in millions of bytes.", 4096.0, above=0
    )
    video_megabytes: float = option("Largest video, in millions of bytes.", 1024.0, above=0)
    video_seconds: float = option("Longest video, in seconds.", 600.0, above=0)
    optimize_size: int = option(
        "Largest long side of an optimised picture, in pixels.", 1024, minimum=32, maximum=16384
    )
    optimize_iterations: int = option("Most iterations of an optimisation.", 1000, minimum=1)
    optimize_paintings: int = option("Most paintings of an optimisation.", 4, minimum=1)

    def __post_init__(self) -> None:
        """Check every value, and fill in the defaults that depend on the user's folders.

        Raises:
            UsageError: a value is out of its range, or the database is neither of the two kinds.
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
        """Return the environment variables of `fast-style worker` for these settings.

        As an argument, a password in the URL could be seen by all users of the machine.
        """
        return {"FAST_STYLE_DATABASE": self.database, "FAST_STYLE_RESULTS": self.results}

    def worker_options(self) -> list[str]:
        """Return the other options of `fast-style worker` for these settings."""
        return [
            f"--jobs-at-once={self.jobs_at_once}",
            f"--checkpoint-seconds={self.checkpoint_seconds}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all options as JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}
