"""A run's policy as one file for other programs: ONNX, or TorchScript, with the environment's scaling inside."""

from os import PathLike
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffmaac.analysis.settings import ExportSettings
from diffmaac.errors import SettingError
from diffmaac.files import replacing
from diffmaac.foreign import GymnasiumSystem
from diffmaac.keywords import ExportKeywords
from diffmaac.result import Result
from diffmaac.settings import build, check_file
from diffmaac.training.agent import Agent, load

ENDINGS = (".onnx", ".pt")
OPSET = 17
INPUT, OUTPUT = "observation", "action"


class Acting(nn.Module):
    """Observations as the environment gives them -> the mode of the policy, as the environment takes it.

    (batch, *observation) -> (batch, *action), both float32: what `Agent.predict` computes.
    """

    def __init__(self, agent: Agent):
        super().__init__()
        net, size = agent.policy.net, agent.task.action_size
        *inner, (weight, bias) = zip(net.weights, net.biases, strict=True)
        layers = [*inner, (weight[:size], bias[:size])]  # of the last the mean, not the standard deviation
        self.weights, self.biases = ([part.detach() for part in parts] for parts in zip(*layers, strict=True))
        self.obs_shape, self.action_shape, low, high = _shapes(agent)
        self.low, self.high = torch.as_tensor(low), torch.as_tensor(high)
        self.offset, self.factor = (self.high + self.low) / 2, (self.high - self.low) / 2

    def forward(self, observation: Tensor) -> Tensor:
        x, last = observation.flatten(1), len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = F.linear(x, weight, bias)
            x = torch.tanh(x) if i == last else torch.relu(x)
        action = self.offset + self.factor * x
        return torch.minimum(torch.maximum(action, self.low), self.high).reshape(-1, *self.action_shape)


def _shapes(agent: Agent) -> tuple[tuple[int, ...], tuple[int, ...], np.ndarray, np.ndarray]:
    """The shapes of an observation and an action of the environment, and the bounds of its actions, flat."""
    system, size = agent.task.system, agent.task.action_size
    if isinstance(system, GymnasiumSystem):
        obs, action = system.spaces
        low, high = (np.asarray(bound, np.float32).ravel() for bound in (action.low, action.high))
        return obs.shape, action.shape, low, high
    return (agent.task.obs_size,), (size,), -np.ones(size, np.float32), np.ones(size, np.float32)


def export(run: str | PathLike[str], file: str | Path, **words: Unpack[ExportKeywords]) -> Result[Path]:
    """Writes the policy of `run` to `file`, whose ending says how: .onnx or .pt (TorchScript).

    The input is a batch of observations as the environment gives them, the output a batch of actions as it takes them,
    both float32. `words` are the settings of ``diffmaac export``.

    Raises SettingError for another ending, or where onnx is not installed; CheckpointError as `diffmaac.load` does.
    """
    which, path = build(ExportSettings, words).which, Path(file)
    check_file("file", path, ENDINGS)
    write = _onnx if path.suffix == ".onnx" else _torchscript
    agent = load(run, which=which)
    acting = Acting(agent).eval()
    with replacing(path) as partial:
        write(acting, partial)
    obs, action = ("x".join(map(str, shape)) for shape in (acting.obs_shape, acting.action_shape))
    note = f"the {which} policy of step {agent.step:,}: {INPUT} (batch, {obs}) -> {OUTPUT} (batch, {action}), float32"
    return Result(path, notes=[note], files=[path])


def _torchscript(acting: Acting, path: Path) -> None:
    """Traced with a batch of two; the size of a batch is free."""
    with torch.no_grad():
        torch.jit.trace(acting, torch.zeros(2, *acting.obs_shape)).save(str(path))  # pyright: ignore


def _onnx(acting: Acting, path: Path) -> None:
    """Layer by layer: a policy is a few matrix products, and needs no general exporter."""
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise SettingError("*.onnx: onnx is not installed. `pip install diffmaac[export]` does.") from error
    nodes: list[Any] = [helper.make_node("Flatten", [INPUT], ["flat"], axis=1)]
    weights: dict[str, np.ndarray] = {}
    at, last = "flat", len(acting.weights) - 1
    for i, (weight, bias) in enumerate(zip(acting.weights, acting.biases, strict=True)):
        weights |= {f"w{i}": weight.numpy(), f"b{i}": bias.numpy()}
        nodes.append(helper.make_node("Gemm", [at, f"w{i}", f"b{i}"], [f"z{i}"], transB=1))
        at = f"h{i}"
        nodes.append(helper.make_node("Tanh" if i == last else "Relu", [f"z{i}"], [at]))
    bounds = {name: getattr(acting, name).numpy() for name in ("factor", "offset", "low", "high")}
    weights |= bounds | {"shape": np.array([-1, *acting.action_shape], np.int64)}
    for kind, name, out in (("Mul", "factor", "scaled"), ("Add", "offset", "moved"), ("Max", "low", "above")):
        nodes.append(helper.make_node(kind, [at, name], [out]))
        at = out
    nodes.append(helper.make_node("Min", [at, "high"], ["inside"]))
    nodes.append(helper.make_node("Reshape", ["inside", "shape"], [OUTPUT]))
    ends: list[Any] = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])]
        for name, shape in ((INPUT, acting.obs_shape), (OUTPUT, acting.action_shape))
    ]
    stored = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "policy", ends[0], ends[1], stored)
    model = helper.make_model(graph, producer_name="diffmaac", opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 10  # which onnxruntime has read since 2024
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
