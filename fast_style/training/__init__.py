"""Training: options (no torch), data, Lightning module, callbacks, and the run itself."""
