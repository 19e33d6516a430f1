"""The options of a bulk run; imports nothing heavy."""

from dataclasses import dataclass, field
from typing import Literal

from fast_style.options import (
    EngineOptions,
    OutputOptions,
    PipelineOptions,
    StyleOptions,
    check_options,
    option,
)

RunnerChoice = Literal["auto", "ray", "local"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOptions:
    """How a bulk run reads its list and where it runs; each field's metadata says what it means.

    Raises:
        OptionError: a value has the wrong type, is no known name, or is out of its bounds.
    """

    column: str = option(
        "Column of a list that contains the paths or URLs.", "path", metavar="NAME"
    )
    name_column: str | None = option(
        "Column of a list that contains the names of the outputs, relative to the output folder.  "
        "[default: the path]",
        None,
        metavar="NAME",
    )
    style_column: str | None = option(
        "Column of a list that contains the styles.", None, metavar="NAME"
    )
    retry_failed: bool = option("Try the pictures again that failed in earlier runs.", False)
    runner: RunnerChoice = option(
        "Where it runs: ray (the extra bulk), or local, in this process alone; auto is ray with "
        "--address, --actors, or many pictures and several GPUs or 16 cores.",
        "auto",
    )
    address: str | None = option("Address of a Ray cluster, such as auto.", None, metavar="ADDRESS")
    actors: int | None = option(
        "Ray processes that stylize.  [default: one for each GPU, or for each 4 cores]",
        None,
        minimum=1,
        metavar="N",
    )
    cpus_per_actor: int | None = option(
        "Cores of each Ray process.  [default: at most 4]", None, minimum=1, metavar="N"
    )

    def __post_init__(self) -> None:
        """Check every value."""
        check_options(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkConfig:
    """What a bulk run does.

    Attributes:
        source: folder, glob, URL or list of the pictures.
        output: folder or URL for the results.
        style: style of the pictures for which the list names none; None if it names all.
        bulk: how the list is read, and where the run takes place.
        style_options: how pictures are stylized.
        output_options: how they are written.
        engine_options: what runs the network.
        pipeline_options: limits and threads of each process.
    """

    source: str
    output: str
    style: str | None = None
    bulk: BulkOptions = field(default_factory=BulkOptions)
    style_options: StyleOptions = field(default_factory=StyleOptions)
    output_options: OutputOptions = field(default_factory=OutputOptions)
    engine_options: EngineOptions = field(default_factory=EngineOptions)
    pipeline_options: PipelineOptions = field(default_factory=PipelineOptions)
