"""`python -m fast_style` is the command `fast-style`."""

from fast_style.cli.main import main

if __name__ == "__main__":
    main()
