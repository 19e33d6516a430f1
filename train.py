"""Train a style model: the same as `fast-style train`, for use from a checkout."""

import sys

from fast_style.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
