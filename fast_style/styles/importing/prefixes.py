"""Find the network in a state dict whose keys have prefixes, such as `module.` or `_orig_mod.`."""

from collections.abc import Mapping
from typing import TypeVar

from fast_style.styles.importing.layouts import LAYOUTS

__all__ = ["strip_prefixes"]

_Value = TypeVar("_Value")

_DEEPEST = 5  # prefixes, such as `model._orig_mod.module.`


def strip_prefixes(state: Mapping[str, _Value]) -> dict[str, _Value]:
    """Return the network's entries by the keys of their project, without prefixes.

    `DataParallel` writes `module.`, `torch.compile` `_orig_mod.`, and a trainer the name of its
    attribute, often beside other networks such as `vgg.`, whose entries are left out. A state dict
    in which no known layout is found is returned as it is.
    """
    return _find_network(dict(state), _DEEPEST) or dict(state)


def _find_network(state: dict[str, _Value], depth: int) -> dict[str, _Value] | None:
    if any(layout.fits(state) for layout in LAYOUTS.values()):
        return state
    groups: dict[str, dict[str, _Value]] = {}
    for key, value in state.items():
        first, dot, rest = key.partition(".")
        if dot:
            groups.setdefault(first, {})[rest] = value
    if depth:
        for group in groups.values():
            if found := _find_network(group, depth - 1):
                return found
    return None
