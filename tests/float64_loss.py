"""The objective of `optimization`, implemented again from the formulas in float64."""

from collections.abc import Mapping, Sequence
from importlib.resources import files

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

STAGES = (("1", (0, 2)), ("2", (5, 7)), ("3", (10, 12, 14)), ("4", (17, 19, 21)))
STYLE_LAYERS = {"relu1_2": 1.0, "relu2_2": 1.0, "relu3_3": 1.0, "relu4_3": 1.0}
CONTENT_LAYERS = {"relu4_2": 1.0}

Pixels = NDArray[np.uint8]


def features(pixels: Pixels) -> dict[str, Tensor]:
    """Return all features of VGG-16 up to relu4_3, in float64."""
    path = files("fast_style") / "weights" / "vgg16_relu4_3_fp16.safetensors"
    weights = {key: value.double() for key, value in load_file(str(path)).items()}
    bgr = torch.from_numpy(pixels[..., ::-1].astype(np.float64))
    x = (bgr - torch.tensor([103.939, 116.779, 123.68])).permute(2, 0, 1)[None]
    found = {}
    for stage, indices in STAGES:
        if stage != "1":
            x = functional.max_pool2d(x, 2)
        for number, index in enumerate(indices, 1):
            name = f"features.{index}"
            x = functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)
            x = x.clamp(min=0)
            found[f"relu{stage}_{number}"] = x
    return found


def gram(layer: Tensor, mask: NDArray[np.float32] | None = None) -> Tensor:
    """Return F diag(m) F^T / (C * sum(m))."""
    flat = layer[0].flatten(1)
    if mask is None:
        return flat @ flat.T / flat.numel()
    whole = torch.from_numpy(mask).double()[None, None]
    m = functional.adaptive_avg_pool2d(whole, layer.shape[2:]).flatten()
    return (flat * m) @ flat.T / (len(flat) * m.sum())


def losses(
    picture: Pixels,
    photo: Pixels,
    paintings: Sequence[Pixels],
    *,
    weights: Sequence[float] = (1.0,),
    masks: Sequence[NDArray[np.float32]] = (),
    content_layers: Mapping[str, float] = CONTENT_LAYERS,
    style_layers: Mapping[str, float] = STYLE_LAYERS,
    content_weight: float = 1.0,
    style_weight: float = 40.0,
    tv_weight: float = 0.0,
) -> dict[str, float]:
    """Return content, style and TV loss, each multiplied by its weight, and their sum.

    Args:
        picture: (H, W, 3) uint8.
        photo: the same shape.
        paintings: at the size that the objective sees.
        weights: of the paintings.
        masks: (H, W), one for each painting or none.
        content_layers: weights of layers.
        style_layers: weights of layers.
        content_weight: factor on the content loss.
        style_weight: factor on the style loss.
        tv_weight: factor on the total variation.
    """
    here, there = features(picture), features(photo)
    content = sum(w * float(((here[k] - there[k]) ** 2).mean()) for k, w in content_layers.items())
    energy = sum(w * float((there[k] ** 2).mean()) for k, w in content_layers.items())
    style = 0.0
    for number, painting in enumerate(paintings):
        wanted = features(painting)
        mask = masks[number] if masks else None

        def distance(seen: dict[str, Tensor], wanted=wanted, mask=mask) -> float:
            return sum(
                w * float(((gram(seen[k], mask) - gram(wanted[k])) ** 2).mean())
                for k, w in style_layers.items()
            )

        # With masks, each painting has its own area; without, they share the picture.
        share = weights[number] / sum(weights) * (len(paintings) if masks else 1)
        coverage = 1.0 if mask is None else float(mask.astype(np.float64).mean())
        style += share * coverage * energy / distance(there) * distance(here)
    values = picture.astype(np.float64)
    tv = sum(float((np.diff(values, axis=axis) ** 2).mean()) for axis in (0, 1))
    terms = {
        "content": content_weight * content,
        "style": style_weight * style,
        "tv": tv_weight * tv,
    }
    return {"total": sum(terms.values()), **terms}
