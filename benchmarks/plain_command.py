"""Do what `neural_style.py eval` of pytorch/examples does, with the same network.

python -m benchmarks.plain_command --content-image PHOTO --model FILE.pth --output-image OUT

It imports what the original script imports, which takes most of its time.
"""

import argparse

import torch
from PIL import Image
from torch.optim import Adam  # noqa: F401 (imported by the original, for training)
from torch.utils.data import DataLoader  # noqa: F401
from torchvision import datasets, models, transforms  # noqa: F401

from benchmarks.plain import make_plain_network
from fast_style.models.config import SIZES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--content-image", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--output-image", required=True)
    parser.add_argument("--size", choices=list(SIZES), default="full")
    arguments = parser.parse_args()

    photo = Image.open(arguments.content_image).convert("RGB")
    to_tensor = transforms.Compose(
        [transforms.ToTensor(), transforms.Lambda(lambda image: image.mul(255))]
    )
    content = to_tensor(photo).unsqueeze(0)
    with torch.no_grad():
        network = make_plain_network(SIZES[arguments.size])
        network.load_state_dict(torch.load(arguments.model))
        picture = network(content)[0]
    pixels = picture.clone().clamp(0, 255).numpy().transpose(1, 2, 0).astype("uint8")
    Image.fromarray(pixels).save(arguments.output_image)


if __name__ == "__main__":
    main()
