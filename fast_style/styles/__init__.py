"""Styles by name, the user's own folder, mixtures, fingerprints, importing and exporting."""
