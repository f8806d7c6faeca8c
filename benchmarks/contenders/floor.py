"""What no contender can do without: the matrix products and convolutions of a step, forward and backward, and nothing
else. `python -m benchmarks.contenders.floor MODEL BATCH_SIZE`."""

import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from benchmarks.contenders.bare import blocks, log_weights, loss_of
from benchmarks.contenders.nets import DRAWS, nets
from benchmarks.contenders.place import DEVICE
from benchmarks.turns import Turns

aten = torch.ops.aten
PRODUCTS = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.convolution, aten.convolution_backward}


def products(model: str, batch_size: int) -> list[Callable[[], Any]]:
    """The products of a recorded step, each with inputs of the shapes that it had."""
    encoder, decoder = (net.to(DEVICE) for net in nets(model))
    parameters = [*encoder.parameters(), *decoder.parameters()]
    x = torch.rand(batch_size, 1, 28, 28, device=DEVICE).round()

    def step(x: torch.Tensor) -> Any:
        if model == "nll":
            with torch.no_grad():
                return [log_weights(encoder, decoder, x, samples)[0] for samples in blocks(batch_size)]
        return torch.autograd.grad(loss_of(encoder, decoder, x, DRAWS.get(model, 1)), parameters)

    recorded = make_fx(step)(x)
    found = []
    for node in recorded.graph.nodes:
        if getattr(node.target, "overloadpacket", None) in PRODUCTS:
            given = torch.fx.node.map_arg(node.args, lambda one: _like(recorded, one))
            found.append(lambda target=node.target, given=given, how=dict(node.kwargs): target(*given, **how))
    return found


def _like(recorded: torch.fx.GraphModule, node: torch.fx.Node) -> torch.Tensor:
    """A tensor of the shape and strides that a node's value had."""
    value = node.meta["val"] if "val" in node.meta else getattr(recorded, str(node.target))
    made = torch.rand(value.shape, device=DEVICE)
    return made.as_strided(value.shape, value.stride()) if _dense(value) else made


def _dense(value: Any) -> bool:
    return (
        sum((size - 1) * stride for size, stride in zip(value.shape, value.stride(), strict=True)) + 1 <= value.numel()
    )


def main() -> None:
    model, batch_size = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    calls = products(model, batch_size)
    turns = Turns()
    with torch.inference_mode():
        while True:
            for each in calls:
                each()
            turns.step()


if __name__ == "__main__":
    main()
