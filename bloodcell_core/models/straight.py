"""A network as one function, for predicting: its layers' own calls, one after another.

A module that is called looks for hooks and the like before it computes, and so does each module within it: of one
cell's way through a lean network that is a sixth. `torch.fx` follows the modules once, and only the layers stay.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

MAKES_NEW = (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.BatchNorm2d)
"""Layers that answer in memory of their own, which the next one may write into."""


class _Tracer(fx.Tracer):
    """Follows modules down to those that hold no others."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return next(m.children(), None) is None


def straight(network: nn.Module, tapped: nn.Module) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """pictures (N, 3, S, S) → what the network gives, to the last bit, and what its layer `tapped` was given.

    The network must be in predicting mode, its weights where they are to stay. Safe to call from several threads.

    Raises:
        Exception: of any kind, where a network can't be followed: where it goes on by what it has computed.
    """
    graph = _Tracer().trace(network)
    layers: dict[Any, nn.Module] = {}
    held: dict[str, Any] = {}
    given = None
    for node in graph.nodes:
        if node.op == "call_module":
            layer = layers[node] = network.get_submodule(node.target)
            given = node.args[0] if layer is tapped else given
            held[node.name] = _call(layer, _alone_with_new(node, layers))
            node.target = node.name  # without the dots, each of which is another look-up
        elif node.op == "get_attr":
            held[node.name] = operator.attrgetter(node.target)(network)
            node.target = node.name
        elif node.op == "output":
            node.args = ((node.args[0], given),)
    made: Callable[[Tensor], tuple[Tensor, Tensor]] = fx.GraphModule(held, graph).forward
    return made


def _alone_with_new(node: fx.Node, layers: dict[Any, nn.Module]) -> bool:
    """Whether nobody but this layer wants what it is given, and that lies in memory of its own."""
    (before,) = node.all_input_nodes
    return len(before.users) == 1 and (isinstance(layers.get(before), MAKES_NEW) or before.target is operator.add)


def _call(layer: nn.Module, may_overwrite: bool) -> Callable[..., Tensor]:
    """What a layer computes, with as little around it as can be."""
    if isinstance(layer, nn.Dropout | nn.Identity):
        return lambda given: given
    if type(layer) is nn.ReLU:
        return torch.relu_ if may_overwrite else torch.relu
    if type(layer) is nn.Conv2d and layer.padding_mode == "zeros":
        weight, bias, stride, padding = layer.weight, layer.bias, layer.stride, layer.padding
        dilation, groups = layer.dilation, layer.groups
        return lambda given: torch.conv2d(given, weight, bias, stride, padding, dilation, groups)
    if type(layer) is nn.GroupNorm:
        count, scale, shift, eps = layer.num_groups, layer.weight, layer.bias, layer.eps
        return lambda given: torch.group_norm(given, count, scale, shift, eps)
    forward: Callable[..., Tensor] = layer.forward
    return forward
