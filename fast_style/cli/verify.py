"""The command `fast-style verify`."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from fast_style.cli.exit_codes import FAILED, SOME_FAILED, debug_option, describe, one_line, say

if TYPE_CHECKING:
    from fast_style.engines import Engine
    from fast_style.models.model_file import StyleModel


@click.command()
@click.argument("styles", nargs=-1, metavar="[NAME|FILE]...")
@click.option("--engine", default="auto", show_default=True, help="What computes the picture.")
@click.option("--device", default="cpu", show_default=True, help="Where.")
@click.option("--precision", default="fp32", show_default=True, help="In what precision.")
@click.option(
    "--add-fingerprint",
    is_flag=True,
    help="Write one into files that have none; their weights stay bit for bit.",
)
@click.option("--json", "as_json", is_flag=True, help="Write a JSON document to stdout.")
@debug_option
def verify(
    styles: tuple[str, ...],
    engine: str,
    device: str,
    precision: str,
    add_fingerprint: bool,
    as_json: bool,
) -> None:
    """Check model files: all styles that are there, or those given.

    Of each file are checked: the header, the card, the names and shapes of the weights, that they
    are finite and the same bits as when the file was made, and that they still give the picture
    they gave then. Files of the first release have nothing to compare the last two with.
    """
    from fast_style.engines import create_engine
    from fast_style.models.model_file import load_model
    from fast_style.options import EngineOptions
    from fast_style.styles.fingerprint import add_fingerprint as write_fingerprint
    from fast_style.styles.registry import find_style, list_styles

    options = EngineOptions(
        engine=engine,  # type: ignore[arg-type]
        device=device,  # type: ignore[arg-type]
        precision=precision,  # type: ignore[arg-type]
    )

    def prepare(model: "StyleModel") -> "Engine":
        return create_engine(model, options)

    names = styles or tuple(entry.name for entry in list_styles())
    document: list[dict[str, Any]] = []
    for name in names:
        result: dict[str, Any] = {"style": name, "sound": False}
        document.append(result)
        try:
            path = find_style(name)
            result["path"] = str(path)
            model = load_model(path)
            if add_fingerprint and not model.card.fingerprint:
                write_fingerprint(path)
                model = load_model(path)
            result |= _examine(model, prepare)
            problem = result.get("problem")
        except Exception as error:
            problem = result["problem"] = describe(error)
        result["sound"] = problem is None
        if problem is not None:
            say(f"{name}: {problem}")
        elif not as_json:
            click.echo(one_line(f"{name}: {_sentence(result)}"))
    if as_json:
        click.echo(json.dumps(document, indent=2))
    if not names:
        say("there are no styles to verify (`fast-style styles`)")
    n_failed = sum(not result["sound"] for result in document)
    if n_failed:
        click.get_current_context().exit(SOME_FAILED if n_failed < len(names) else FAILED)


def _examine(model: "StyleModel", prepare: "Callable[[StyleModel], Engine]") -> dict[str, Any]:
    """Check what a sound file can still have wrong with it."""
    from fast_style.styles.fingerprint import compare_fingerprint, weights_sha256

    found: dict[str, Any] = {"tensors": len(model.weights)}
    if not model.card.fingerprint:
        return found | {"fingerprint": False, "sha256": weights_sha256(model.weights)}
    engine = prepare(model)
    compared = compare_fingerprint(model, engine)
    found |= {
        "fingerprint": True,
        "sha256": compared.sha256,
        "engine": f"{engine.name} {engine.precision}",
        "difference": round(compared.difference, 3),
        "tolerance": compared.tolerance,
    }
    if not compared.same_weights:
        found["problem"] = (
            "its weights are not those that the file was made with (SHA-256 "
            f"{compared.sha256[:16]}...): fetch or train it again"
        )
    elif not compared.same_picture:
        found["problem"] = (
            f"its picture differs by {compared.difference:.2f} levels from the one it gave when it "
            f"was made (at most {compared.tolerance} in {engine.precision}): another grain on its "
            "card, or an engine that does not compute what it should"
        )
    return found


def _sentence(result: dict[str, Any]) -> str:
    sound = f"header, {result['tensors']} tensors and their values are sound"
    if not result["fingerprint"]:
        return (
            f"{sound}; it has no fingerprint to compare its picture with "
            "(--add-fingerprint writes one)"
        )
    return (
        f"{sound}, the weights are the same, and so is the picture ({result['difference']:.3f} of "
        f"{result['tolerance']} levels, {result['engine']})"
    )
