"""One gradient for each patient, cut to one length: what private training may add up.

Patients are looked at one by one (`torch.func.vmap`), so that no gradient depends on who else is in the batch; a network that mixes
patients, as batch normalisation does, has no gradient of one patient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.func import grad, vmap

Parameters = Mapping[str, Tensor]


def per_patient(loss: Callable[[Parameters, Tensor], Tensor], parameters: Parameters, patients: Tensor) -> Tensor:
    """(patients, values) the gradient of `loss(parameters, patient)`, a number, for each of `patients` (patients, ...), laid out flat."""
    if not len(patients):
        return torch.zeros(0, sum(part.numel() for part in parameters.values()))
    found = vmap(grad(loss), in_dims=(None, 0))(dict(parameters), patients)
    return torch.cat([part.flatten(1) for part in found.values()], 1)


def clipped(gradients: Tensor, length: float) -> Tensor:
    """(patients, values) in units of `length`: no row is longer than 1, and one that is not finite is 0.

    It leaves by way of a product, so that a patient without a number takes the same path as all others.
    """
    known = torch.isfinite(gradients).all(1, keepdim=True)
    kept = torch.where(known, gradients, torch.zeros(())).double()
    return kept / kept.norm(dim=1, keepdim=True).clamp(min=length)
