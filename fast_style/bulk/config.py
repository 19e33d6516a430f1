"""The options of a bulk run; imports nothing heavy."""

import os
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

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
    videos: bool = option(
        "Stylize videos too, as `fast-style video` does; needs the extra video.", False
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


_FIRST_OPTIONS = ("size", "strength", "preserve_color", "stroke_size")
"""Options of the first release, which every output's settings hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkConfig:
    """What a bulk run does.

    Attributes:
        source: folder, glob, URL or list of the pictures.
        output: folder or URL for the results.
        style: style of the pictures for which the list names none; None if it names all.
        bulk: how the list is read, and where the run takes place.
        masks: where the style is applied: a picture for all, `alpha`, or a folder with a picture of
            each photo's name; as for `inference.guide_files.GuideFiles`. One at most.
        colors_of: path of a picture whose colours the pictures are given.
        style_options: how pictures are stylized.
        output_options: how they are written.
        engine_options: what runs the network.
        pipeline_options: limits and threads of each process.
    """

    source: str
    output: str
    style: str | None = None
    masks: tuple[str, ...] = ()
    colors_of: str | None = None
    bulk: BulkOptions = field(default_factory=BulkOptions)
    style_options: StyleOptions = field(default_factory=StyleOptions)
    output_options: OutputOptions = field(default_factory=OutputOptions)
    engine_options: EngineOptions = field(default_factory=EngineOptions)
    pipeline_options: PipelineOptions = field(default_factory=PipelineOptions)

    @property
    def absolute_masks(self) -> tuple[str, ...]:
        """The masks as paths that workers with another current directory find."""
        return tuple(one if one == "alpha" else os.path.abspath(one) for one in self.masks)

    def look_settings(self) -> dict[str, Any]:
        """Return how pictures are stylized, by the names of the options.

        Options that came after the first release are in it if they differ from their defaults, so
        that outputs that an earlier release has begun can be continued.
        """
        values, defaults = asdict(self.style_options), asdict(StyleOptions())
        found = {k: v for k, v in values.items() if k in _FIRST_OPTIONS or v != defaults[k]}
        guides = {"masks": list(self.absolute_masks), "colors_of": self.colors_of}
        return found | {name: value for name, value in guides.items() if value}
