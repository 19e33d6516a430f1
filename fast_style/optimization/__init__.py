"""Style transfer by optimising the pixels of one picture.

Gatys, Ecker and Bethge 2015 (arXiv 1508.06576): slow, of the best quality, without training. `api`
has the functions for other packages.
"""
