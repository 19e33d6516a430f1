"""The style network, its model file, and the VGG and losses that it is trained with."""
