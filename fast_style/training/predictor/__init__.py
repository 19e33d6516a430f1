"""Training of a predictor: the network that predicts a style from any painting in one pass."""
