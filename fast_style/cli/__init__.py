"""The command line: `main` is the entry point, and each command has a module of its name."""
