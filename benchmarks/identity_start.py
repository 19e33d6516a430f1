"""Train a network to reproduce photos: the start of the base models' training.

    python -m benchmarks.identity_start --photos DIR --size standard -o start.safetensors
    fast-style train --init start.safetensors --style-image PAINTINGS/ --photos DIR --name base ...

From random weights, a style's training spends its first thousand steps on grey pictures with flat
areas. A network that reproduces colours and edges skips these. Training it needs no VGG and takes
about a minute.
"""

import argparse
from pathlib import Path

import torch
from torch.nn import functional
from torch.utils.data import DataLoader

from benchmarks.machine import describe_machine
from fast_style.engines.torch_device import use_bf16
from fast_style.models.card import ModelCard
from fast_style.models.config import SIZES
from fast_style.models.model_file import save_model
from fast_style.models.network import StyleNetwork
from fast_style.training.data import PhotoCrops, collate
from fast_style.training.inputs import find_photos
from fast_style.training.model_card import network_weights


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--size", choices=list(SIZES), default="standard")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--crop-size", type=int, default=192)
    parser.add_argument("--grain", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    network = StyleNetwork(SIZES[arguments.size]).to(memory_format=torch.channels_last)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=arguments.learning_rate)
    steps = arguments.steps
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    crops = PhotoCrops(
        find_photos(arguments.photos), arguments.crop_size, arguments.grain, arguments.seed
    )
    samples = range(steps * arguments.batch_size)
    loader = DataLoader(
        crops,
        batch_size=arguments.batch_size,
        sampler=samples,  # type: ignore[arg-type]
        num_workers=1,
        collate_fn=collate,
    )
    for step, batch in enumerate(loader):
        photos, grainy = (
            batch[name].to(memory_format=torch.channels_last).float() / 255
            for name in ("photos", "grainy")
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=use_bf16("auto", "cpu")):
            pictures = network(grainy, wrap=True)
        loss = functional.mse_loss(pictures.float(), photos)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step}: {float(loss) ** 0.5 * 255:.1f} levels off", flush=True)
    about = {name: str(value) for name, value in vars(arguments).items()}
    for path in ("photos", "output"):  # of this machine only
        del about[path]
    about |= {"made_by": "benchmarks.identity_start", "machine": describe_machine("torch")}
    card = ModelCard(name=f"identity-{arguments.size}", network=network.config, training=about)
    save_model(arguments.output, card, network_weights(network))


if __name__ == "__main__":
    main()
