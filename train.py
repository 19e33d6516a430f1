"""Train a style model: the same as `fast-style train`, for use from a checkout."""

from fast_style.cli.exit_codes import run
from fast_style.cli.train import train

if __name__ == "__main__":
    run(train)
