"""The norm of all gradients of an optimizer together."""

from __future__ import annotations

from typing import Any  # torch has imported it by now


def gradient_norm(torch: Any, optimizer: Any) -> Any:
    """Returns the norm as a scalar tensor; None without gradients and where some are sparse, sharded or complex."""
    held = [p.grad for group in optimizer.param_groups for p in group["params"]]
    gradients = [gradient for gradient in held if gradient is not None]
    kinds = {(type(g), g.layout, g.device, g.dtype) for g in gradients}
    if len({device for _, _, device, _ in kinds}) != 1 or any(
        of != torch.Tensor or layout != torch.strided or device.type not in ("cpu", "cuda") or dtype.is_complex
        for of, layout, device, dtype in kinds
    ):
        return None
    with torch.no_grad():
        if all(dtype == torch.float32 for _, _, _, dtype in kinds):
            norms = torch._foreach_norm(gradients)
        else:
            norms = [torch.linalg.vector_norm(g, dtype=torch.float32) for g in gradients]
        return torch.linalg.vector_norm(torch.stack(norms))
