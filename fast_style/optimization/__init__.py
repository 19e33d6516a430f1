"""Optimisation-based transfer: the pixels themselves descend to a painting's style.

Gatys, Ecker and Bethge 2015 (arXiv 1508.06576). Slow, of the best quality, and without training;
`run` has what others call.
"""
