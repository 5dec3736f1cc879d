"""A GRU layer over whole sequences, for fast training on CPUs.

PyTorch's backward pass accumulates the gradient of the recurrent weight matrix at every step. This one keeps the gate
gradients of all steps and computes the weight gradient in one matrix product. The elementwise arithmetic of a step is
in two functions; :func:`compile_steps` fuses each of them into one pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _step(gates: Tensor, recurrent: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return next state in float32 and in the dtype of ``gates``, and reset, update and new gate, ``[B, H]`` each."""
    reset_x, update_x, new_x = gates.float().chunk(3, dim=-1)
    reset_h, update_h, new_h = recurrent.float().chunk(3, dim=-1)
    reset, update = torch.sigmoid(reset_x + reset_h), torch.sigmoid(update_x + update_h)
    new = torch.tanh(new_x + reset * new_h)
    state = new + update * (state - new)
    return state, state.to(gates.dtype), reset.to(gates.dtype), update.to(gates.dtype), new.to(gates.dtype)


def _step_back(
    state: Tensor, after: Tensor, recurrent: Tensor, reset: Tensor, update: Tensor, new: Tensor, before: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the gates, of the recurrent product, and of the state.

    The first two are ``[B, 3 * H]``. The state's, ``[B, H]``, lacks the part through the recurrent product.
    """
    reset, update, new = reset.float(), update.float(), new.float()
    state = state + after
    of_new = state * (1 - update) * (1 - new * new)
    of_update = state * (before.float() - new) * update * (1 - update)
    of_reset = of_new * recurrent[:, -new.shape[1] :].float() * reset * (1 - reset)
    gates = torch.cat([of_reset, of_update, of_new], dim=-1).to(after.dtype)
    return gates, torch.cat([of_reset, of_update, of_new * reset], dim=-1).to(after.dtype), state * update


_forward: Callable[..., Any] = _step
_backward: Callable[..., Any] = _step_back


def compile_steps() -> None:
    """Compile the elementwise arithmetic for this process: a training step then takes two thirds of the time."""
    global _forward, _backward
    _forward, _backward = torch.compile(_step, dynamic=True), torch.compile(_step_back, dynamic=True)


class _Recurrence(torch.autograd.Function):
    """Computes matrix products in the dtype of ``gates`` and everything else in float32."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, w_hh: Tensor, b_hh: Tensor, first: Tensor) -> Tensor:
        weight, bias = w_hh.to(gates.dtype).t(), b_hh.to(gates.dtype)
        state, near = first.float(), first.to(gates.dtype)
        kept: list[Tensor] = []
        states = [near]
        for own in gates.contiguous():
            recurrent = torch.addmm(bias, near, weight)
            state, near, *three = _forward(own, recurrent, state)
            kept += [recurrent, *three]
            states.append(near)
        stacked = torch.stack(states)
        ctx.save_for_backward(w_hh, stacked, *kept)
        return stacked[1:]

    @staticmethod
    def backward(ctx: Any, *found: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        w_hh, states, *kept = ctx.saved_tensors
        after = found[0].contiguous()
        weight = w_hh.to(after.dtype)
        gates, recurrent = [], []
        state = torch.zeros_like(after[0], dtype=torch.float32)
        for t in range(len(after) - 1, -1, -1):
            of_gates, of_recurrent, state = _backward(state, after[t], *kept[4 * t : 4 * t + 4], states[t])
            state = state + of_recurrent @ weight
            gates.append(of_gates)
            recurrent.append(of_recurrent)
        flat = torch.cat(recurrent[::-1])
        of_weight = flat.t() @ states[:-1].flatten(0, 1)
        return torch.stack(gates[::-1]), of_weight.to(w_hh.dtype), flat.sum(0, dtype=w_hh.dtype), state


def recurrence(gates: Tensor, w_hh: Tensor, b_hh: Tensor, first: Tensor) -> Tensor:
    """Return the states of a GRU layer after each step, ``[T, B, hidden_dim]`` in the dtype of ``gates``.

    Args:
        gates: input part of the gates of all steps, with bias, ``[T, B, 3 * hidden_dim]`` in PyTorch's gate order.
        w_hh: recurrent weights, float32 ``[3 * hidden_dim, hidden_dim]``.
        b_hh: recurrent bias, ``[3 * hidden_dim]``.
        first: state before the first step, ``[B, hidden_dim]``.
    """
    return _Recurrence.apply(gates, w_hh, b_hh, first)
