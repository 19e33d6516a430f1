"""The command `fast-style export`."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fast_style.cli.exit_codes import debug_option, print_message
from fast_style.cli.options import json_option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fast_style.models.model_file import StyleModel

# As in fast_style.styles.exporting.options, which `--help` should not load; a test compares them.
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
@click.option("--rgba", is_flag=True, help="With --uint8: four channels, as a web canvas has.")
@click.option(
    "--fixed-size", metavar="HxW", help="Only allow pictures of this size, such as 720x1280."
)
@click.option(
    "--float16",
    is_flag=True,
    help="Half the file size: convolutions in float16, norms in float32; pictures keep their type.",
)
@click.option(
    "--no-grain", is_flag=True, help="Do not add the grain that the library adds to pictures."
)
@click.option(
    "--photo",
    type=click.Path(path_type=Path),
    help="The photo for the comparison.  [default: a generated picture]",
)
@json_option
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
    """Export a style for other programs, and compare the result with the library.

    STYLE is a name, a file, or a mixture of styles trained from one base
    (starry-night:0.6,great-wave:0.4). The exported file is run on a picture, and the largest
    difference from the library's result in float32 is printed to stdout; a file whose difference is
    too large is deleted.

    An ONNX file (operator set 17) has the input `image` and the output `stylized`, of any size from
    5x5 pixels and any batch size. Value ranges, grain, rounding and cropping are inside: with
    --uint8 (and --rgba for a canvas) an app needs no steps before or after. Its metadata describes
    its input. TorchScript and pt2 programs need torch and have the same input and output; a
    safetensors file is a model file of Fast Style, in float32 unless --float16.
    """
    from fast_style.styles.exporting import OPSET, ExportOptions, export_model
    from fast_style.styles.exporting.options import FORMATS

    size = _parse_size(fixed_size)
    (form,) = (name for name in FORMATS if name == kind)
    options = ExportOptions(form, uint8, rgba, float16, size, not no_grain)
    picture = None if photo is None else _read_photo(photo, size)
    result = export_model(_load_model(style), output, options, picture)
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
    print_message(f"wrote {output}: {kind}{stated}, {document['bytes']:,} bytes")
    height, width = result.size
    click.echo(
        f"largest difference from the library: {result.difference:.2e} of [0, 1] "
        f"({result.difference * 255:.3f} of 255 levels), in {result.runner}, "
        f"{width}x{height} pixels"
    )


def _load_model(style: str) -> "StyleModel":
    """Load a style, or a mixture of styles as one network."""
    from fast_style.errors import UsageError
    from fast_style.styles.mixing import how_to_mix, mix_models
    from fast_style.styles.registry import load_parts

    parts = load_parts(style)
    if len(parts) == 1:
        return parts[0][0]
    if how_to_mix([model.card for model, _ in parts]) == "pictures":
        raise UsageError(
            f"{style} cannot be one network, because the styles were trained from different bases: "
            "export each of them"
        )
    return mix_models(parts)


def _read_photo(path: Path, size: tuple[int, int] | None) -> "NDArray[np.uint8]":
    """Read a photo, resized if the size is fixed."""
    import numpy as np
    from PIL import Image

    from fast_style.images import read_image

    pixels = read_image(path).fill_hidden()
    if size is None:
        return pixels
    height, width = size
    return np.asarray(Image.fromarray(pixels).resize((width, height)))


def _parse_size(text: str | None) -> tuple[int, int] | None:
    from fast_style.errors import UsageError

    if text is None:
        return None
    sides = re.fullmatch(r"([0-9]{1,6})[xX]([0-9]{1,6})", text)
    if sides is None:
        raise UsageError(f"--fixed-size is {text!r}; expected HEIGHTxWIDTH, such as 720x1280")
    return int(sides[1]), int(sides[2])
