"""Stylize photos: the same as `fast-style stylize`, for use from a checkout."""

from fast_style.cli.exit_codes import run
from fast_style.cli.stylize import stylize

if __name__ == "__main__":
    run(stylize)
