"""The options of the service, with help texts, defaults and checks.

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
from fast_style.storage.hardware import usable_cores

_MOST_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """The options of the service; each field's metadata has its help text."""

    host: str = option(
        "Address to listen on; 127.0.0.1 is for this machine only, 0.0.0.0 for all.", "127.0.0.1"
    )
    port: int = option("Port to listen on; 0 takes a free one.", 8000, minimum=0, maximum=65535)
    warm: str = option(
        "Styles that are loaded before the first request: names separated by commas, all, or none.",
        "all",
    )
    loaded: int = option(
        "Styles and mixtures that stay loaded; the least recently used is dropped.", 16, minimum=1
    )
    engine: EngineChoice = option(
        "What runs the networks; auto is the fastest that is installed.", "auto"
    )
    device: DeviceChoice = option("Where the networks run; auto prefers a GPU.", "auto")
    precision: PrecisionChoice = option(
        "Precision of the networks; auto is bf16 where the processor computes it natively, else "
        "fp32.",
        "auto",
    )
    concurrency: int | None = option(
        "Photos that share a processor's cores: more photos per second, each a little later.  "
        "[default: one per core, 4 at most]",
        None,
        minimum=1,
    )
    in_flight: int = option(
        "Photos that are decoded, stylized or encoded at once; the others wait undecoded.",
        6,
        minimum=1,
    )
    queue: int = option(
        "Requests that may wait for that; more are answered with 503 and Retry-After.",
        128,
        minimum=0,
    )
    request_seconds: float = option(
        "Time limit of a request once its body has been received; then the answer is 504.",
        60.0,
        above=0,
    )
    body_seconds: float = option(
        "Time limit of receiving a body; then the answer is 408.", 60.0, above=0
    )
    idle_seconds: float = option(
        "The longest pause of a client in the middle of a request.", 10.0, above=0
    )
    max_body_megabytes: float = option(
        "Largest body of a request for one picture, in millions of bytes; a larger one gets 413.",
        32.0,
        above=0,
    )
    hold_megabytes: float = option(
        "Memory for the bodies of all requests that are being received or wait, in millions of "
        "bytes; beyond it the answer is 503.",
        512.0,
        above=0,
    )
    max_megapixels: float = option(
        "Largest photo by its header, before it is decoded; a larger one gets 422.", 25.0, above=0
    )
    decoders: int = option(
        "Processes that decode photos; if one hangs or dies, only its own photo fails.",
        2,
        minimum=1,
    )
    decode_seconds: float = option(
        "Time limit of decoding a photo; then its process is killed.", 10.0, above=0
    )
    decode_megabytes: int = option(
        "Memory limit of decoding a photo, in millions of bytes.", 1024, minimum=64
    )
    keys: Path | None = option(
        "File of API keys, one per line, KEY or NAME:KEY, read again when it changes.  [default: "
        "no key is needed]",
        None,
    )
    rate: float = option(
        "Requests per minute of each key, or of each address without keys; 0 is no limit.",
        0.0,
        minimum=0,
    )
    burst: int = option("Requests at once that --rate lets through after a pause.", 10, minimum=1)
    trust_proxy: bool = option(
        "Take the client's address from X-Forwarded-For, which a reverse proxy must set.", False
    )
    cors: str = option(
        "Origins whose pages may call the service, separated by commas, or *.  [default: none]",
        "",
    )
    drain_seconds: float = option("How long requests may go on after SIGTERM.", 30.0, above=0)
    quiet: bool = option("Write no log of requests.", False)

    def __post_init__(self) -> None:
        """Check every option on its own.

        Raises:
            UsageError: a value is none of the choices, or out of its bounds.
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
        cores = usable_cores()
        return self.concurrency or min(cores, _MOST_AT_ONCE)

    @property
    def max_body_bytes(self) -> int:
        """The largest body of a request for one picture."""
        return int(self.max_body_megabytes * 1e6)
