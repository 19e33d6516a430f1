"""The command `fast-style export`."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fast_style.cli.exit_codes import debug_option, say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fast_style.models.model_file import StyleModel

# Those of fast_style.styles.exporting.options, which `--help` need not load; a test compares them.
FORMAT_NAMES = ("onnx", "torchscript", "pt2", "safetensors")


@click.command()
@click.argument("style", metavar="STYLE")
@click.option("--to", "kind", type=click.Choice(FORMAT_NAMES), required=True, help="The format.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The file.")
@click.option(
    "--uint8/--float",
    default=False,
    show_default="float",
    help="Pictures as uint8 (B, H, W, 3), 0-255, or as float32 (B, 3, H, W), [0, 1].",
)
@click.option("--rgba", is_flag=True, help="With --uint8: four channels, as a canvas has them.")
@click.option(
    "--fixed-size", metavar="HxW", help="Take pictures of this size only, such as 720x1280."
)
@click.option(
    "--float16",
    is_flag=True,
    help="Half the size; convolutions in float16, norms in float32, pictures as before.",
)
@click.option("--no-grain", is_flag=True, help="Leave out the grain that the library adds.")
@click.option(
    "--photo",
    type=click.Path(path_type=Path),
    help="The photo to compare on.  [default: a picture made up for it]",
)
@click.option("--json", "as_json", is_flag=True, help="Write a JSON document to stdout.")
@debug_option
def export(
    style: str,
    kind: str,
    output: Path,
    uint8: bool,
    rgba: bool,
    fixed_size: str | None,
    float16: bool,
    no_grain: bool,
    photo: Path | None,
    as_json: bool,
) -> None:
    """Write a style for other programs, and compare what was written with the library.

    STYLE is a name, a file, or a mixture of styles that grew from one base
    (starry-night:0.6,great-wave:0.4). The file is run once it is written, and the largest
    difference of its picture from the library's in float32 goes to stdout; a file that is off is
    not kept.

    An ONNX file (operator set 17) takes `image` and gives `stylized`, of any size from 5x5 pixels
    on and of any batch. Ranges, grain, rounding and crop are inside: with --uint8 (and --rgba for a
    canvas) an app has nothing to do before or after. Its metadata says what it takes. TorchScript
    and pt2 programs, which need torch, take and give the same; safetensors are a model file of Fast
    Style, in float32 unless --float16.
    """
    from fast_style.styles.exporting import OPSET, ExportOptions, export_model
    from fast_style.styles.exporting.options import FORMATS

    size = _parsed_size(fixed_size)
    (form,) = (name for name in FORMATS if name == kind)
    options = ExportOptions(form, uint8, rgba, float16, size, not no_grain)
    picture = None if photo is None else _read_photo(photo, size)
    result = export_model(_load(style), output, options, picture)
    document = {
        "path": str(output),
        "format": kind,
        "bytes": output.stat().st_size,
        "shape": list(options.shape) if kind != "safetensors" else None,
        "opset": OPSET if kind == "onnx" else None,
        "difference": result.difference,
        "limit": result.limit,
        "ran_in": result.runner,
        "compared_on": list(result.size),
    }
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    stated = f", opset {OPSET}" if kind == "onnx" else ""
    say(f"wrote {output}: {kind}{stated}, {document['bytes']:,} bytes")
    height, width = result.size
    click.echo(
        f"largest difference from the library: {result.difference:.2e} of [0, 1] "
        f"({result.difference * 255:.3f} of 255 levels), in {result.runner}, "
        f"{width}x{height} pixels"
    )


def _load(style: str) -> "StyleModel":
    """Load a style, or the one network that a mixture of styles makes."""
    from fast_style.errors import UsageError
    from fast_style.styles.mixing import how_to_mix, mix_models
    from fast_style.styles.registry import load_parts

    parts = load_parts(style)
    if len(parts) == 1:
        return parts[0][0]
    if how_to_mix([model.card for model, _ in parts]) == "pictures":
        raise UsageError(
            f"{style} are mixed picture by picture, for their networks were trained apart: export "
            "each of them"
        )
    return mix_models(parts)


def _read_photo(path: Path, size: tuple[int, int] | None) -> "NDArray[np.uint8]":
    """Read a photo, brought to a size if one is fixed."""
    import numpy as np
    from PIL import Image

    from fast_style.images import read_image

    pixels = read_image(path).pixels
    if size is None:
        return pixels
    height, width = size
    return np.asarray(Image.fromarray(pixels).resize((width, height)))


def _parsed_size(text: str | None) -> tuple[int, int] | None:
    from fast_style.errors import UsageError

    if text is None:
        return None
    sides = re.fullmatch(r"([0-9]{1,6})[xX]([0-9]{1,6})", text)
    if sides is None:
        raise UsageError(f"--fixed-size is {text!r}; expected HEIGHTxWIDTH, such as 720x1280")
    return int(sides[1]), int(sides[2])
