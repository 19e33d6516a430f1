"""Styles by name: which there are, the user's own, mixtures, and files from and for elsewhere."""
