"""The command line: `main` is the way in, and each command is in a file of its own name."""
