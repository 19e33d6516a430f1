"""What the figures in the README come from: run each with `python -m benchmarks.NAME`."""
