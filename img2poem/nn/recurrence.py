"""A GRU layer over whole texts for training on CPUs.

PyTorch's own backward pass adds up the gradient of the recurrent weights step by step, each time the whole matrix. Here
the gradients of all gates are kept, and one product makes the gradient of the weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Recurrence(torch.autograd.Function):
    """Matrix products are in the dtype of ``gates``; state and its gradient are added up in float32 at least."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, w_hh: Tensor, b_hh: Tensor, first: Tensor) -> Tensor:
        steps, rows, width = gates.shape[0], gates.shape[1], first.shape[1]
        weight, bias = w_hh.to(gates.dtype).t(), b_hh.to(gates.dtype)
        states = gates.new_empty(steps + 1, rows, width)
        both = gates.new_empty(steps, rows, 2 * width)  # reset and update
        new, product = (gates.new_empty(steps, rows, width) for _ in range(2))  # and the new gate's recurrent product
        state = first.to(torch.promote_types(gates.dtype, torch.float32))
        states[0] = state
        for t in range(steps):
            recurrent = torch.addmm(bias, states[t], weight)
            torch.add(gates[t, :, : 2 * width], recurrent[:, : 2 * width], out=both[t]).sigmoid_()
            product[t] = recurrent[:, 2 * width :]
            torch.addcmul(gates[t, :, 2 * width :], both[t, :, :width], product[t], out=new[t]).tanh_()
            state = (state - new[t]).mul_(both[t, :, width:]).add_(new[t])
            states[t + 1] = state
        ctx.save_for_backward(states, both, new, product, w_hh)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *found: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        states, both, new, product, w_hh = ctx.saved_tensors
        (after,) = found
        steps, rows, width = new.shape
        reset, update = both.split(width, dim=-1)
        to_both, to_new = w_hh.to(new.dtype).split([2 * width, width])
        # What needs no gradient of a later step is computed for all steps at once.
        into_new = (1 - update) * (1 - new * new)
        into_update = (states[:-1] - new) * update * (1 - update)
        into_reset = product * reset * (1 - reset)
        gates, of_product = new.new_empty(steps, rows, 3 * width), torch.empty_like(new)
        state = torch.zeros(rows, width, dtype=torch.promote_types(new.dtype, torch.float32), device=new.device)
        for t in range(steps - 1, -1, -1):
            state += after[t]
            near = state.to(new.dtype)
            own = gates[t]
            torch.mul(near, into_new[t], out=own[:, 2 * width :])
            torch.mul(near, into_update[t], out=own[:, width : 2 * width])
            torch.mul(own[:, 2 * width :], into_reset[t], out=own[:, :width])
            torch.mul(own[:, 2 * width :], reset[t], out=of_product[t])
            state *= update[t]
            state += torch.addmm(of_product[t] @ to_new, own[:, : 2 * width], to_both)
        before, of_product = states[:-1].flatten(0, 1), of_product.flatten(0, 1)
        of_both = gates.flatten(0, 1)[:, : 2 * width]
        of_weight = torch.cat([of_both.t() @ before, of_product.t() @ before])
        of_bias = torch.cat([part.sum(0, dtype=state.dtype) for part in (of_both, of_product)])
        return gates, of_weight.to(w_hh.dtype), of_bias.to(w_hh.dtype), state


def recurrence(gates: Tensor, w_hh: Tensor, b_hh: Tensor, first: Tensor) -> Tensor:
    """Return the states of a GRU layer after each step, ``[T, B, hidden_dim]`` in the dtype of ``gates``.

    Args:
        gates: of the inputs of all steps, bias included, ``[T, B, 3 * hidden_dim]`` in PyTorch's order.
        w_hh: recurrent weights, float32 ``[3 * hidden_dim, hidden_dim]``.
        b_hh: their bias.
        first: state before the first step, ``[B, hidden_dim]``.
    """
    return _Recurrence.apply(gates, w_hh, b_hh, first)  # type: ignore[no-any-return]
