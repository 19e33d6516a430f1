"""The style network, its model file, and the VGG and losses for training."""
