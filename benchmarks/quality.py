"""Measure the quality of styles: the iteration of L-BFGS on the pixels that a network equals.

    python -m benchmarks.quality --photos DIR --paintings DIR

For each model, the perceptual objective that it was trained for (layers, weights and style size
from its card) is computed for the 8-bit results of `Stylizer`, and along a descent on the same
photo's pixels, also rounded to 8 bits. Photos are cropped to the central square; smaller ones are
first enlarged until their short side fits. Descents are cached on disk and depend on photo,
painting and loss only: a second model with the same loss takes seconds, and an interrupted run can
be continued. A descent ends soon after it has reached the network's objective.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open

from benchmarks.equivalents import (
    EqualIteration,
    StyleQuality,
    find_equal_iteration,
    make_card_key,
    make_headlines,
    make_quality_table,
    summarize,
)
from benchmarks.lbfgs_curves import (
    LINE_SEARCHES,
    PRECISIONS,
    STARTS,
    DescentCurve,
    LineSearch,
    Precision,
    Start,
    compute_curve,
    default_curve_folder,
    load_curve,
    make_curve_key,
    store_curve,
)
from benchmarks.machine import describe_machine
from benchmarks.objective import (
    MeasuredObjective,
    Pixels,
    Terms,
    is_vgg19_on_disk,
    make_measures,
    read_card_loss,
    to_tensor,
)
from benchmarks.published import (
    PublishedComparison,
    compare_published,
    find_published,
    make_published_table,
)
from fast_style.errors import FastStyleError
from fast_style.images import READABLE_SUFFIXES, Photo, read_image, resize_long_side, resize_to
from fast_style.inference.stylizer import Stylizer
from fast_style.models.card import ModelCard
from fast_style.models.config import size_name
from fast_style.models.model_file import load_model, save_model
from fast_style.options import StyleOptions
from fast_style.styles.registry import find_style

SIDE, LARGE_SIDE = 256, 512
SHIPPED = Path(__file__).parents[1] / "saved_models"


@dataclass(frozen=True, slots=True)
class DescentSettings:
    """How descents are computed, and where they are cached.

    Attributes:
        folder: the cache folder.
        iterations: number of iterations.
        line_search: as for `compute_curve`.
        precisions: precisions of the gradients, as for `compute_curve`; cached curves of any of
            them are used, and new ones are computed in the last.
        device: torch's name of the device.
        start: as for `compute_curve`.
    """

    folder: Path
    iterations: int
    line_search: LineSearch = "none"
    precisions: tuple[Precision, ...] = ("fp32",)
    device: str = "cpu"
    start: Start = "photo"

    def get_curve(
        self,
        objective: MeasuredObjective,
        painting: Pixels,
        photo: Pixels,
        goal: Mapping[str, Terms],
    ) -> DescentCurve:
        """Return a photo's curve at least until it reaches a goal, from the cache or computed."""
        for precision in self.precisions:
            key = make_curve_key(
                objective.measures, painting, photo, self.line_search, precision, self.start
            )
            curve = load_curve(self.folder, key)
            if curve and (curve.iterations[-1] >= self.iterations or curve.reaches(goal)):
                return curve.up_to(self.iterations)
        curve = compute_curve(
            objective, photo, self.iterations, self.line_search, goal, precision, self.start
        )
        store_curve(self.folder, key, curve)
        return curve.up_to(self.iterations)


def crop_square(pixels: Pixels, side: int) -> Pixels:
    """Crop a picture, (H, W, 3), to its central square; enlarge it first if it is too small."""
    short = min(pixels.shape[:2])
    if short < side:
        height, width = (max(side, round(n * side / short)) for n in pixels.shape[:2])
        pixels = resize_to(pixels, height, width)
    top, left = ((n - side) // 2 for n in pixels.shape[:2])
    return pixels[top : top + side, left : left + side].copy()


def list_photos(folder: Path) -> list[Path]:
    """Return the pictures in a folder, sorted by name."""
    files = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in READABLE_SUFFIXES]
    if not files:
        raise FastStyleError(f"there are no pictures in {folder}")
    return files


def find_painting(card: ModelCard, folder: Path) -> Pixels:
    """Read the painting of a model, at the size it was trained with."""
    name = Path(str(card.training.get("style_image", ""))).name
    if not name or not (folder / name).is_file():
        raise FastStyleError(f"its painting {name!r} is not in {folder} (--paintings)")
    size = int(card.training["style_size"])
    return resize_long_side(read_image(folder / name).pixels, size, enlarge=True)


def measure(
    stylizer: Stylizer,
    painting: Pixels,
    photos: list[Pixels],
    descents: DescentSettings,
    *,
    vgg19: bool = False,
) -> Iterator[dict[str, EqualIteration]]:
    """Compare a model's results with descents; yield for each photo the results by measure."""
    config = read_card_loss(stylizer.card.training)
    objective = MeasuredObjective(make_measures(config, vgg19=vgg19), painting, descents.device)
    for photo in photos:
        picture = stylizer.stylize_photo(Photo(photo), StyleOptions(stroke_size=1)).pixels
        of_photo = objective.for_photo(photo)
        found = of_photo.terms(to_tensor(picture, descents.device))
        unstylized = of_photo.terms(of_photo.photo)
        curve = descents.get_curve(objective, painting, photo, found)
        yield {
            name: find_equal_iteration(curve, name, terms, unstylized[name])
            for name, terms in found.items()
        }


def write_card(path: Path, qualities: Mapping[str, object]) -> None:
    """Add figures to a model's card; its weights are not changed.

    Raises:
        FastStyleError: the file holds weights that would be changed by writing them, or cannot be
            written.
    """
    with safe_open(path, "numpy") as file:
        kinds = {str(file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118
    if kinds != {"F16"}:
        raise FastStyleError(f"{path} holds weights of {', '.join(sorted(kinds))}, not of float16")
    model = load_model(path)
    card = replace(model.card, quality={**model.card.quality, **qualities})
    save_model(path, card, model.weights)  # float16 to float32 and back loses nothing


def measure_model(path: Path, arguments: argparse.Namespace, start: Start) -> list[StyleQuality]:
    """Measure one model on the photos of all sizes, with descents from one start."""
    stylizer = Stylizer(path, engine=arguments.engine, precision=arguments.precision, device="cpu")
    painting = find_painting(stylizer.card, arguments.paintings)
    descents = DescentSettings(
        arguments.cache,
        arguments.iterations,
        arguments.line_search,
        tuple(arguments.descent_precision),
        arguments.device,
        start,
    )
    gradients = " or ".join(arguments.descent_precision)
    files = list_photos(arguments.photos)
    rows = []
    for side, count in ((SIDE, arguments.count), (LARGE_SIDE, arguments.large)):
        photos = [crop_square(read_image(file).pixels, side) for file in files[:count]]
        if not photos:
            continue
        found = []
        for equal in measure(
            stylizer, painting, photos, descents, vgg19=arguments.vgg19 and is_vgg19_on_disk()
        ):
            found.append(equal)
            print(
                f"{path.stem}: {side} px, photo {len(found)} of {len(photos)}: "
                + ", ".join(f"{e.iteration:.1f} on {name}" for name, e in equal.items()),
                file=sys.stderr,
                flush=True,
            )
        used = stylizer.engine
        rows.append(
            summarize(
                path.stem,
                size_name(stylizer.card.network),
                side,
                arguments.iterations,
                arguments.line_search,
                gradients,
                found,
                f"{used.name} {used.precision}",
                start,
            )
        )
    return rows


def measure_published(path: Path, arguments: argparse.Namespace) -> list[PublishedComparison]:
    """Compare a model with the published picture of its style, if the reader has it."""
    found = arguments.published and find_published(arguments.published, path.stem)
    if not found:
        return []
    stylizer = Stylizer(path, engine=arguments.engine, precision=arguments.precision, device="cpu")
    painting = find_painting(stylizer.card, arguments.paintings)
    measures = make_measures(read_card_loss(stylizer.card.training), vgg19=False)
    return [compare_published(stylizer, MeasuredObjective(measures, painting, "cpu"), *found)]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", help="names or files [default: all that ship]")
    parser.add_argument("--photos", type=Path, required=True, help="a folder")
    parser.add_argument("--paintings", type=Path, required=True, help="a folder")
    parser.add_argument("--count", type=int, default=40, help=f"photos of {SIDE} px")
    parser.add_argument("--large", type=int, default=0, help=f"photos of {LARGE_SIDE} px")
    parser.add_argument("--iterations", type=int, default=100, help="of L-BFGS")
    parser.add_argument(
        "--start", choices=STARTS, nargs="+", default=["photo"], help="of L-BFGS; one or both"
    )
    parser.add_argument(
        "--published",
        type=Path,
        help="a folder with photo.jpg and published pictures of it, NAME.jpg for style NAME",
    )
    parser.add_argument("--line-search", choices=LINE_SEARCHES, default="none")
    parser.add_argument(
        "--descent-precision",
        choices=PRECISIONS,
        nargs="+",
        default=["fp32"],
        help="of the gradients; with several, cached curves of any are used, and new ones are "
        "computed in the last",
    )
    parser.add_argument(
        "--vgg19", action="store_true", help="measure with VGG-19 too, if it is on disk"
    )
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="cpu", help="device of the descents")
    parser.add_argument(
        "--cache", type=Path, default=default_curve_folder(), help="folder of cached descents"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument(
        "--write-cards", action="store_true", help="add the figures to the models' cards"
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.backends.cudnn.allow_tf32 = False  # except for the gradients of descents that use it
    names = arguments.models or sorted(SHIPPED.glob("*.safetensors"))
    rows: list[StyleQuality] = []
    published: list[PublishedComparison] = []
    failed = 0
    for name in names:
        try:
            path = find_style(name)
            found = [
                row for start in arguments.start for row in measure_model(path, arguments, start)
            ]
            published += measure_published(path, arguments)
            if arguments.write_cards:
                write_card(
                    path, {make_card_key(row.side, row.start): row.to_card() for row in found}
                )
            rows += found
        except FastStyleError as error:
            failed += 1
            print(f"{name}: left out: {error}", file=sys.stderr)

    machine = describe_machine("torch", "openvino")
    if arguments.json:
        document = {"machine": machine, "models": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(document, indent=2), encoding="utf-8")
    print(machine)
    print(
        f"Median (quartiles) over photos; projected L-BFGS from {' and '.join(arguments.start)}, "
        f"line search {arguments.line_search}, gradients in "
        f"{' or '.join(arguments.descent_precision)}, "
        f"at most {arguments.iterations} iterations; shares are of the photo's own objective, "
        "L-BFGS's are those at the equal iteration."
    )
    if not (arguments.vgg19 and is_vgg19_on_disk()):
        asked = "its weights are not on disk" if arguments.vgg19 else "--vgg19 was not given"
        print(f"VGG-19's features are left out: {asked}.")
    print("\n" + "\n".join([*make_headlines(rows), "", *make_quality_table(rows)]))
    if published:
        print("\nShares of the photo's own objective:\n")
        print("\n".join(make_published_table(published)))
    sys.exit(3 if failed and rows else bool(failed))


if __name__ == "__main__":
    main()
