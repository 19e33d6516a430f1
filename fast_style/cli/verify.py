"""The command `fast-style verify`."""

import json
from typing import TYPE_CHECKING, Any

import click

from fast_style.cli.exit_codes import FAILED, SOME_FAILED, debug_option, one_line, print_message
from fast_style.cli.options import json_option, options_from
from fast_style.errors import describe
from fast_style.options import EngineOptions

if TYPE_CHECKING:
    from fast_style.models.model_file import StyleModel


@click.command()
@click.argument("styles", nargs=-1, metavar="[NAME|FILE]...")
@options_from(
    EngineOptions,
    "engine_options",
    only=("engine", "device", "precision"),
    defaults={"device": "cpu", "precision": "fp32"},
)
@click.option(
    "--add-fingerprint",
    is_flag=True,
    help="Add a fingerprint to files that have none; their weights are not changed.",
)
@json_option
@debug_option
def verify(
    styles: tuple[str, ...],
    engine_options: EngineOptions,
    add_fingerprint: bool,
    as_json: bool,
) -> None:
    """Check model files: the given ones, or all styles.

    Checked are the header, the card, the names and shapes of the weights, that they are finite and
    have not changed since the file was made, and that the network still computes the same picture.
    Files without a fingerprint have nothing to compare the weights and the picture with.
    """
    from fast_style.models.model_file import load_model
    from fast_style.styles.fingerprint import add_fingerprint as write_fingerprint
    from fast_style.styles.registry import find_style, list_styles

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
            result |= _check_fingerprint(model, engine_options)
            problem = result.get("problem")
        except Exception as error:
            problem = result["problem"] = describe(error)
        result["sound"] = problem is None
        if problem is not None:
            print_message(f"{name}: {problem}")
        elif not as_json:
            click.echo(one_line(f"{name}: {_sentence(result)}"))
    if as_json:
        click.echo(json.dumps(document, indent=2))
    if not names:
        print_message("there are no styles to verify (`fast-style styles`)")
    n_failed = sum(not result["sound"] for result in document)
    if n_failed:
        click.get_current_context().exit(SOME_FAILED if n_failed < len(names) else FAILED)


def _check_fingerprint(model: "StyleModel", options: EngineOptions) -> dict[str, Any]:
    """Compare a model's weights and picture with its fingerprint."""
    from fast_style.engines import create_engine
    from fast_style.styles.fingerprint import compare_fingerprint, weights_sha256

    found: dict[str, Any] = {"tensors": len(model.weights)}
    if not model.card.fingerprint:
        return found | {"fingerprint": False, "sha256": weights_sha256(model.weights)}
    engine = create_engine(model, options)
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
            "its weights have changed since the file was made (SHA-256 "
            f"{compared.sha256[:16]}...): fetch or train it again"
        )
    elif not compared.same_picture:
        found["problem"] = (
            f"its picture differs by {compared.difference:.2f} levels from the one computed when "
            f"the file was made (at most {compared.tolerance} in {engine.precision}): the grain on "
            "its card was changed, or the engine computes wrong results"
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
