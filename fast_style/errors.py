"""All exceptions that Fast Style raises itself.

::

    FastStyleError
    ├── UsageError                  arguments that do not fit together (exit code 2)
    │   └── OptionError             an option whose value is not allowed
    ├── ImageError                  a picture that cannot be used
    │   ├── UnreadableImageError    not a picture, truncated, not permitted
    │   ├── ImageTooLargeError      more megapixels than the limit
    │   └── ImageWriteError         the picture could not be written
    ├── ModelError
    │   ├── StyleNotFoundError      no style of that name
    │   ├── ModelFileError          a file that is no valid model file
    │   │   └── NewerFormatError    written by a newer release
    │   ├── ForeignCheckpointError  another project's checkpoint that cannot be imported
    │   ├── ExportError             a model that cannot be written in another format
    │   └── DownloadError           a model that cannot be downloaded
    ├── EngineError                 an engine, device or precision that is not available
    ├── MissingExtraError           an optional package that is not installed
    ├── ServiceError                a service that cannot be reached, is busy or fails
    ├── WeightsError                VGG weights that are missing, changed or cannot be downloaded
    ├── JobError                    a background job that cannot be accepted
    │   ├── ArchiveError            a ZIP of photos that is damaged or beyond the limits
    │   ├── KeyReusedError          an idempotency key that was used with another body
    │   └── QueueFullError          the queue of jobs is full
    ├── VideoError                  a video that cannot be read or written
    ├── BulkError                   a bulk run whose input or output cannot be reached
    └── TrainingError               training cannot start or continue
        ├── TrainingDataError       too few photos, no photos, no painting
        ├── NameTakenError          a model of that name exists
        └── ResumeError             nothing to resume, or another run's checkpoint

A message is one sentence with what was expected, what was found, and what to do about it.
"""

import errno
import os


class FastStyleError(Exception):
    """Base class of all errors of this package; its text is written for users."""


class UsageError(FastStyleError):
    """Arguments that are wrong in themselves or do not fit together."""


class OptionError(UsageError):
    """An option whose value has the wrong type or is out of its bounds.

    Attributes:
        option: the option's name, as the field of a dataclass has it: `stroke_size`.
        problem: the rest of the sentence: `is 20; expected 16 or less`. The command line puts
            `--stroke-size` in front of it.
    """

    def __init__(self, option: str, problem: str) -> None:
        """Name the option, and what is wrong with its value."""
        super().__init__(option, problem)  # both, so that other processes can unpickle it
        self.option, self.problem = option, problem

    def __str__(self) -> str:
        """Return the whole sentence."""
        return f"{self.option} {self.problem}"


class ImageError(FastStyleError):
    """A picture that cannot be used."""


class UnreadableImageError(ImageError):
    """A file that is not a picture, is damaged, or cannot be opened."""


class ImageTooLargeError(ImageError):
    """A picture whose header claims more pixels than the limit allows."""


class ImageWriteError(ImageError):
    """A picture that could not be written."""


class VideoError(FastStyleError):
    """A video that cannot be read or written."""


class ModelError(FastStyleError):
    """A style model that cannot be used."""


class StyleNotFoundError(ModelError):
    """There is no style of that name."""


class ModelFileError(ModelError):
    """A file that is not a valid model file of this package."""


class NewerFormatError(ModelFileError):
    """A model file in a newer format, written by a later release."""


class ForeignCheckpointError(ModelError):
    """A checkpoint of another project that cannot be imported."""


class ExportError(ModelError):
    """A model that cannot be exported, or computes another picture after the export."""


class DownloadError(ModelError):
    """A model that cannot be downloaded: no connection, interrupted, too large, wrong checksum."""


class EngineError(FastStyleError):
    """An engine, a device or a precision that is not available on this machine."""


class MissingExtraError(FastStyleError):
    """An optional package that is needed is not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        """Store the feature, the package that it needs, and the extra that installs the package."""
        super().__init__(
            f'{feature} needs {package}, which is not installed: pip install "fast-style[{extra}]"'
        )
        self.feature, self.package, self.extra = feature, package, extra


class ServiceError(FastStyleError):
    """A service that cannot be reached, is too busy for too long, or fails."""


class WeightsError(FastStyleError):
    """VGG weights that are missing, are not what they should be, or cannot be downloaded."""


class JobError(FastStyleError):
    """A background job that cannot be accepted or continued."""


class ArchiveError(JobError):
    """A ZIP archive of photos that is damaged, hostile or beyond the limits."""


class KeyReusedError(JobError):
    """An idempotency key that was used with another body before."""


class QueueFullError(JobError):
    """The queue of jobs is full."""


class BulkError(FastStyleError):
    """A bulk run whose input, output or cluster cannot be reached."""


class TrainingError(FastStyleError):
    """Training cannot start or continue."""


class TrainingDataError(TrainingError):
    """Photos or paintings that cannot be used for training."""


class NameTakenError(TrainingError):
    """A model or a run of that name already exists."""


class ResumeError(TrainingError):
    """There is nothing to resume, or the checkpoint belongs to another run."""


def is_thread_limit(error: BaseException) -> bool:
    """Return whether a thread or a process could not be started."""
    if isinstance(error, OSError):
        return error.errno == errno.EAGAIN and error.filename is None
    text = str(error)
    # The messages of Python's threading, of C++ (torch, TBB), of libgomp.
    marks = ("can't start new thread", "Resource temporarily unavailable", "Thread creation failed")
    return isinstance(error, RuntimeError) and any(mark in text for mark in marks)


def shorten(found: object, limit: int = 80) -> str:
    """Return what a message quotes: one line of printable characters, not too long.

    Args:
        found: text, or a value, which is shown as `repr` does.
        limit: the most characters; the end of longer text is left out.
    """
    text = found if isinstance(found, str) else repr(found)
    # Cut first: what comes from a file may be very long.
    shown = "".join(
        letter if letter.isprintable() else " " if letter.isspace() else repr(letter)[1:-1]
        for letter in text[: limit + 1]
    )
    return shown if len(shown) <= limit else f"{shown[: limit - 3]}..."


def describe(error: BaseException) -> str:
    """Return a sentence for users that describes an exception."""
    if isinstance(error, FastStyleError):
        return str(error)
    if isinstance(error, MemoryError):
        return (
            "there is not enough memory: work at a smaller size (--size), or stylize large "
            "pictures in strips (--tile 1024)"
        )
    if is_thread_limit(error):
        return (
            "the system lets this process start no more threads or processes: raise the limit "
            "(ulimit -u, or the container's limit of pids), or use fewer (--workers)"
        )
    if isinstance(error, OSError) and error.strerror:
        path = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return f"{path}{error.strerror}"
    detail = f": {error}" if str(error) else ""
    return (
        f"this is a bug: {type(error).__name__}{detail} "
        "(please report it; --debug shows where it happened)"
    )
