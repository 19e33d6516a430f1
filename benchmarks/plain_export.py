"""Export models as the plain network: torch weights and ONNX graphs.

    python -m benchmarks.plain_export --side 256 512 MODEL ... --output FOLDER

The graphs are made by torch's exporter of the network of pytorch/examples, without this package's
rewrites. Their height and width are fixed, which is fastest in any engine.
"""

import argparse
import warnings
from pathlib import Path

import torch
from torch import nn

from benchmarks.plain import make_plain_network
from fast_style.models.model_file import load_model


def load_plain_network(model_file: Path) -> nn.Sequential:
    """Return the plain network with the weights of a model file."""
    model = load_model(model_file)
    network = make_plain_network(model.card.network).eval()
    # Both name their parameters in the order of the forward pass.
    names = network.state_dict().keys()
    values = [torch.from_numpy(values) for values in model.weights.values()]
    network.load_state_dict(dict(zip(names, values, strict=True)))
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", metavar="MODEL", nargs="+", type=Path)
    parser.add_argument("--side", type=int, nargs="*", default=[], help="sides of the ONNX graphs")
    parser.add_argument("--output", type=Path, required=True, help="the folder to write to")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # the exporter warns that it is the older one
    for path in arguments.models:
        network = load_plain_network(path)
        torch.save(network.state_dict(), arguments.output / f"{path.stem}.pth")
        for side in arguments.side:
            torch.onnx.export(
                network,
                (torch.zeros(1, 3, side, side),),
                str(arguments.output / f"{path.stem}-{side}.onnx"),
                input_names=["image"],
                output_names=["stylized"],
                dynamo=False,  # the newer exporter needs another package
            )


if __name__ == "__main__":
    main()
