"""Training of style networks with PyTorch Lightning; `config` and `inputs` need no torch."""
