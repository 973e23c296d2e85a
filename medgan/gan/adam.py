"""Adam, small enough to be saved and resumed bit for bit (torch.optim imports the compiler, seconds of it)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

EPSILON = 1e-8


class Adam:
    """Kingma & Ba 2015, bias-corrected. The learning rate is an argument of each step."""

    def __init__(self, parameters: Iterable[Tensor], betas: tuple[float, float]) -> None:
        self.parameters, self.betas, self.steps = list(parameters), betas, 0
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        beta1, beta2 = self.betas
        self.steps += 1
        torch._foreach_lerp_(self.first, list(gradients), 1 - beta1)
        torch._foreach_mul_(self.second, beta2)
        torch._foreach_addcmul_(self.second, list(gradients), list(gradients), 1 - beta2)
        root = torch._foreach_sqrt(self.second)
        torch._foreach_div_(root, (1 - beta2**self.steps) ** 0.5)
        torch._foreach_add_(root, EPSILON)
        torch._foreach_addcdiv_(self.parameters, self.first, root, -lr / (1 - beta1**self.steps))

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """The two moments of every parameter, under names that begin with `prefix`."""
        moments = {"first": self.first, "second": self.second}
        return {f"{prefix}.{name}.{i}": tensor for name, some in moments.items() for i, tensor in enumerate(some)}

    @torch.no_grad()
    def restore(self, prefix: str, tensors: dict[str, Tensor], steps: int) -> None:
        """Put back what `tensors` gave. Raises KeyError or RuntimeError when it is not of these parameters."""
        for name, own in self.tensors(prefix).items():
            own.copy_(tensors[name])
        self.steps = steps
