"""The options of the service, each with its meaning, default and check.

`fast-style serve` builds its command line from these fields.
"""

from dataclasses import dataclass
from pathlib import Path

from fast_style.options import (
    DeviceChoice,
    EngineChoice,
    EngineOptions,
    PrecisionChoice,
    check_options,
    option,
)
from fast_style.storage.hardware import core_limit, visible_cores

_MOST_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How the service is run; each field's metadata says what it means."""

    host: str = option(
        "Address to listen on; 127.0.0.1 is this machine only, 0.0.0.0 everywhere.", "127.0.0.1"
    )
    port: int = option(
        "Port to listen on; 0 takes one that is free.", 8000, minimum=0, maximum=65535
    )
    warm: str = option(
        "Styles that are loaded before the first request: names with commas between them, all that "
        "there are, or none.",
        "all",
    )
    loaded: int = option(
        "Styles and mixtures that stay loaded; the least recently used goes.", 16, minimum=1
    )
    engine: EngineChoice = option("What runs the networks; auto takes the fastest.", "auto")
    device: DeviceChoice = option("Where they run; auto takes a GPU that can be used.", "auto")
    precision: PrecisionChoice = option("auto takes bf16 where the processor has it.", "auto")
    concurrency: int | None = option(
        "Photos that share a processor's cores when several are there: more a second, each a "
        "little later. [default: one a core, 4 at most]",
        None,
        minimum=1,
    )
    in_flight: int = option(
        "Photos that are held decoded, in or near the network; the others wait as they came.",
        6,
        minimum=1,
    )
    queue: int = option(
        "Requests that may wait for that; beyond it the answer is 503 with Retry-After.",
        128,
        minimum=0,
    )
    request_seconds: float = option(
        "The longest that a request may take once its body is there; then the answer is 504.",
        60.0,
        above=0,
    )
    body_seconds: float = option(
        "The longest that a body may take to come; then the answer is 408.", 60.0, above=0
    )
    idle_seconds: float = option(
        "The longest that a client may send nothing in the middle of a request.", 10.0, above=0
    )
    max_body_megabytes: float = option(
        "The largest body of a request for one picture, in millions of bytes; 413 beyond.",
        32.0,
        above=0,
    )
    hold_megabytes: float = option(
        "Memory for the bodies of all requests that are coming or waiting, in millions of bytes; "
        "503 beyond.",
        512.0,
        above=0,
    )
    max_megapixels: float = option(
        "The largest photo, by its header and before it is decoded; 422 beyond.", 25.0, above=0
    )
    decoders: int = option(
        "Processes that decode photos; one that hangs or dies takes only its own photo along.",
        2,
        minimum=1,
    )
    decode_seconds: float = option(
        "The longest that a photo may take to decode; its process is ended then.", 10.0, above=0
    )
    decode_megabytes: int = option(
        "Memory that a photo may take to decode, in millions of bytes.", 1024, minimum=64
    )
    keys: Path | None = option(
        "File of API keys, one a line, KEY or NAME:KEY, read again when it changes.  [default: no "
        "key is asked for]",
        None,
    )
    rate: float = option(
        "Requests a minute for each key, or each address without keys; 0 is no limit.",
        0.0,
        minimum=0,
    )
    burst: int = option("Requests at once that --rate lets through after a pause.", 10, minimum=1)
    trust_proxy: bool = option(
        "Take the client's address from X-Forwarded-For, which a proxy in front must set.", False
    )
    cors: str = option(
        "Origins whose pages may call the service, with commas, or *.  [default: none]",
        "",
    )
    drain_seconds: float = option(
        "How long requests in flight may go on after SIGTERM.", 30.0, above=0
    )
    quiet: bool = option("Write no log of requests.", False)

    def __post_init__(self) -> None:
        """Check every option on its own.

        Raises:
            UsageError: a value that is none of the choices, or out of its bounds.
        """
        check_options(self)

    def engine_options(self) -> EngineOptions:
        """Return the options of the engine that the styles are loaded with."""
        return EngineOptions(
            engine=self.engine,
            device=self.device,
            precision=self.precision,
            concurrency=self.at_once,
        )

    @property
    def at_once(self) -> int:
        """The number of photos that the network works on at once."""
        cores = core_limit() or visible_cores()
        return self.concurrency or min(cores, _MOST_AT_ONCE)

    @property
    def max_body_bytes(self) -> int:
        """The largest body of a request for one picture."""
        return int(self.max_body_megabytes * 1e6)
