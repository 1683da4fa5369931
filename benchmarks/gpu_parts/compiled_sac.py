"""A SAC in the plainest way, its update compiled by torch and recorded as a CUDA graph, as LeanRL's is."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffmaac.training.graphed import CudaRecorder, Graphed
from diffmaac.typed import lerp_
from gpu_parts.table import BATCH, GpuSettings, Row, milliseconds


def compiled(settings: GpuSettings) -> Row:
    """Of a SAC in the plainest way, its update compiled by torch and recorded as a CUDA graph."""
    device, width = settings.device, 16 if settings.quick else 256
    obs_size, action_size, rows = 17, 6, 1000
    sizes = {"actor": (obs_size, 2 * action_size), "q1": (obs_size + action_size, 1), "q2": (obs_size + action_size, 1)}
    nets = {name: mlp(n_in, n_out, width).to(device) for name, (n_in, n_out) in sizes.items()}
    targets = {name: mlp(*sizes[name], width).to(device).requires_grad_(False) for name in ("q1", "q2")}
    log_alpha = torch.zeros((), device=device, requires_grad=True)
    critic_parameters = [*nets["q1"].parameters(), *nets["q2"].parameters()]
    groups = [critic_parameters, list(nets["actor"].parameters()), [log_alpha]]
    options: Row = {"fused": True, "capturable": device == "cuda"}
    optimizers = [torch.optim.Adam(group, 3e-4, **options) for group in groups]
    data = torch.randn(rows, 2 * obs_size + action_size + 1, device=device)

    def act(obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = nets["actor"](obs).chunk(2, -1)
        log_std = log_std.clamp(-20, 2)
        noise = torch.randn_like(mean)
        u = mean + log_std.exp() * noise
        squash = 2 * (0.6931471805599453 - u - F.softplus(-2 * u))
        return u.tanh(), (-0.5 * noise.square() - log_std - 0.9189385332046727 - squash).sum(-1)

    def value(qs: dict[str, nn.Module], obs: Tensor, action: Tensor) -> Tensor:
        x = torch.cat([obs, action], -1)
        return torch.stack([qs["q1"](x)[:, 0], qs["q2"](x)[:, 0]])

    def descend(loss: Tensor, *indices: int) -> None:
        parameters = [parameter for index in indices for parameter in groups[index]]
        for parameter, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = grad
        for index in indices:
            optimizers[index].step()

    def critic_loss(batch: Tensor) -> Tensor:
        obs, action, reward, after = batch.split([obs_size, action_size, 1, obs_size], -1)
        with torch.no_grad():
            next_action, log_prob = act(after)
            soft = value(targets, after, next_action).amin(0) - log_alpha.exp() * log_prob
            target = reward[:, 0] + 0.99 * soft
        return (value(nets, obs, action) - target).square().mean(1).sum()

    def actor_loss(batch: Tensor) -> Tensor:
        """Of policy and temperature together: neither has a gradient with respect to the other's parameters."""
        action, log_prob = act(batch[:, :obs_size])
        q = value(nets, batch[:, :obs_size], action).amin(0)
        policy = (log_alpha.exp().detach() * log_prob - q).mean()
        return policy - log_alpha * (log_prob.detach() - action_size).mean()

    critic: Callable[[Tensor], Tensor] = torch.compile(critic_loss, dynamic=False)
    actor: Callable[[Tensor], Tensor] = torch.compile(actor_loss, dynamic=False)

    def update(_: None, index: Tensor) -> Tensor:
        batch = data[index]
        loss = critic(batch)
        descend(loss, 0)
        descend(actor(batch), 1, 2)
        with torch.no_grad():
            for name, target in targets.items():
                lerp_(list(target.parameters()), list(nets[name].parameters()), 0.005)
        return loss.detach()

    recorded = Graphed(update, CudaRecorder([]) if device == "cuda" else None)
    draw = lambda: torch.randint(rows, (BATCH,), device=device)  # noqa: E731
    way = "compiled, graph" if device == "cuda" else "compiled"
    return {"way": way, "ms": milliseconds(lambda: recorded(None, draw()), settings)}


def mlp(n_in: int, n_out: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, n_out))
