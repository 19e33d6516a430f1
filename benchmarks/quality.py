"""How good a style's pictures are: the iteration of L-BFGS on the pixels that a network equals.

    python -m benchmarks.quality --photos DIR --paintings DIR

For each model the perceptual objective that it was trained for (layers, weights and style size from
its card) is taken of what `Stylizer` gives for a photo, 8 bits, grain and all, and beside it the
same objective along a descent on that photo's pixels, rounded to 8 bits too. Photos are square
crops of the middle; for the large ones a photo is resized until its short side fits. Descents are
kept on disk and depend on photo, painting and loss only, so a second model with the same loss costs
seconds; a run that was cut short goes on where it was. A descent ends a little after it has reached
the network.
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
    Equal,
    Quality,
    card_key,
    equal_iteration,
    quality_table,
    summarize,
)
from benchmarks.lbfgs_curves import (
    LINE_SEARCHES,
    PRECISIONS,
    STARTS,
    Curve,
    LineSearch,
    Precision,
    Start,
    compute_curve,
    curve_key,
    default_folder,
    load_curve,
    store_curve,
)
from benchmarks.machine import describe_machine
from benchmarks.objective import (
    Objective,
    Pixels,
    Terms,
    as_tensor,
    loss_of_card,
    measures_of,
    vgg19_is_there,
)
from fast_style.errors import FastStyleError
from fast_style.images import READABLE_SUFFIXES, Photo, read_image, resize_long_side, resize_to
from fast_style.inference.stylizer import Stylizer
from fast_style.models.config import size_name
from fast_style.models.model_file import ModelCard, load_model, save_model
from fast_style.styles.registry import find_style

SIDE, LARGE_SIDE = 256, 512
SHIPPED = Path(__file__).parents[1] / "saved_models"


@dataclass(frozen=True, slots=True)
class Descents:
    """How descents are made, and where they are kept.

    Attributes:
        folder: of the curves.
        iterations: how far.
        line_search: as for `compute_curve`.
        precisions: of their gradients, as for `compute_curve`: whichever is on disk, and the last
            for those that are not.
        device: torch's name of it.
        start: as for `compute_curve`.
    """

    folder: Path
    iterations: int
    line_search: LineSearch = "none"
    precisions: tuple[Precision, ...] = ("fp32",)
    device: str = "cpu"
    start: Start = "photo"

    def curve(
        self, objective: Objective, painting: Pixels, photo: Pixels, goal: Mapping[str, Terms]
    ) -> Curve:
        """Read a photo's curve to where it reaches a goal, or compute and keep it."""
        for precision in self.precisions:
            key = curve_key(
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


def square(pixels: Pixels, side: int) -> Pixels:
    """Cut the middle square out of a picture, (H, W, 3), resized first where it is too small."""
    short = min(pixels.shape[:2])
    if short < side:
        height, width = (max(side, round(n * side / short)) for n in pixels.shape[:2])
        pixels = resize_to(pixels, height, width)
    top, left = ((n - side) // 2 for n in pixels.shape[:2])
    return pixels[top : top + side, left : left + side].copy()


def photo_files(folder: Path) -> list[Path]:
    """The pictures in a folder, in the order of their names."""
    files = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in READABLE_SUFFIXES]
    if not files:
        raise FastStyleError(f"there are no pictures in {folder}")
    return files


def find_painting(card: ModelCard, folder: Path) -> Pixels:
    """Read the painting that a model learnt, as large as it learnt it."""
    name = Path(str(card.training.get("style_image", ""))).name
    if not name or not (folder / name).is_file():
        raise FastStyleError(f"its painting {name!r} is not in {folder} (--paintings)")
    size = int(card.training["style_size"])
    return resize_long_side(read_image(folder / name).pixels, size, enlarge=True)


def measure(
    stylizer: Stylizer,
    painting: Pixels,
    photos: list[Pixels],
    descents: Descents,
    *,
    vgg19: bool = False,
) -> Iterator[dict[str, Equal]]:
    """Compare a model's pictures with descents, photo by photo; tells by measure."""
    config = loss_of_card(stylizer.card.training)
    objective = Objective(measures_of(config, vgg19=vgg19), painting, descents.device)
    for photo in photos:
        picture = stylizer.stylize_photo(Photo(photo)).pixels
        of_photo = objective.of_photo(photo)
        found = of_photo.terms(as_tensor(picture, descents.device))
        untouched = of_photo.terms(of_photo.photo)
        curve = descents.curve(objective, painting, photo, found)
        yield {
            name: equal_iteration(curve, name, terms, untouched[name])
            for name, terms in found.items()
        }


def write_card(path: Path, qualities: Mapping[str, object]) -> None:
    """Put figures into a model's card, beside those that are there; its weights stay as they are.

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


def judge(path: Path, arguments: argparse.Namespace) -> list[Quality]:
    """All figures of one model."""
    stylizer = Stylizer(path, engine=arguments.engine, precision=arguments.precision, device="cpu")
    painting = find_painting(stylizer.card, arguments.paintings)
    descents = Descents(
        arguments.cache,
        arguments.iterations,
        arguments.line_search,
        tuple(arguments.descent_precision),
        arguments.device,
        arguments.start,
    )
    gradients = " or ".join(arguments.descent_precision)
    files = photo_files(arguments.photos)
    rows = []
    for side, count in ((SIDE, arguments.count), (LARGE_SIDE, arguments.large)):
        photos = [square(read_image(file).pixels, side) for file in files[:count]]
        if not photos:
            continue
        found = []
        for equal in measure(
            stylizer, painting, photos, descents, vgg19=arguments.vgg19 and vgg19_is_there()
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
                arguments.start,
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", help="names or files [default: all that ship]")
    parser.add_argument("--photos", type=Path, required=True, help="a folder")
    parser.add_argument("--paintings", type=Path, required=True, help="a folder")
    parser.add_argument("--count", type=int, default=40, help=f"photos of {SIDE} px")
    parser.add_argument("--large", type=int, default=0, help=f"photos of {LARGE_SIDE} px")
    parser.add_argument("--iterations", type=int, default=100, help="of L-BFGS")
    parser.add_argument("--start", choices=STARTS, default="photo", help="of L-BFGS")
    parser.add_argument("--line-search", choices=LINE_SEARCHES, default="none")
    parser.add_argument(
        "--descent-precision",
        choices=PRECISIONS,
        nargs="+",
        default=["fp32"],
        help="of L-BFGS's gradients; of several, any that is on disk, and the last for the others",
    )
    parser.add_argument("--vgg19", action="store_true", help="look with VGG-19 too, if it is here")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="cpu", help="where torch computes the descents")
    parser.add_argument("--cache", type=Path, default=default_folder(), help="folder of descents")
    parser.add_argument("--json", type=Path, help="a file to write all figures to")
    parser.add_argument(
        "--write-cards", action="store_true", help="put them into the models' cards"
    )
    arguments = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False  # but for gradients of descents that ask for it
    names = arguments.models or sorted(SHIPPED.glob("*.safetensors"))
    rows: list[Quality] = []
    failed = 0
    for name in names:
        try:
            path = find_style(name)
            found = judge(path, arguments)
            if arguments.write_cards:
                write_card(path, {card_key(row.side, row.start): row.to_card() for row in found})
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
        f"Median (quartiles) over photos; projected L-BFGS from {arguments.start}, line search "
        f"{arguments.line_search}, gradients in {' or '.join(arguments.descent_precision)}, "
        f"at most {arguments.iterations} iterations; shares are of the photo's own objective, "
        "L-BFGS's those at the iteration that is equalled."
    )
    if not (arguments.vgg19 and vgg19_is_there()):
        asked = "its weights are not on disk" if arguments.vgg19 else "--vgg19 was not given"
        print(f"VGG-19's features are left out: {asked}.")
    print("\n" + "\n".join(quality_table(rows)))
    sys.exit(3 if failed and rows else bool(failed))


if __name__ == "__main__":
    main()
