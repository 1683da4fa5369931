"""Objectives: pure functions of tensors and callables. They return the loss and a small mapping worth logging."""

from diffmaac.objectives.loop import (
    ClosedLoop as ClosedLoop,
)
from diffmaac.objectives.loop import (
    flat_gradient as flat_gradient,
)
from diffmaac.objectives.loop import (
    lower_bound as lower_bound,
)
from diffmaac.objectives.loop import (
    soft_value as soft_value,
)
from diffmaac.objectives.pathwise import (
    PathwiseNoise as PathwiseNoise,
)
from diffmaac.objectives.pathwise import (
    pathwise_loss as pathwise_loss,
)
from diffmaac.objectives.pathwise import (
    sample_pathwise_noise as sample_pathwise_noise,
)
from diffmaac.objectives.steve import (
    SteveNoise as SteveNoise,
)
from diffmaac.objectives.steve import (
    sample_steve_noise as sample_steve_noise,
)
from diffmaac.objectives.steve import (
    steve_candidates as steve_candidates,
)
from diffmaac.objectives.steve import (
    steve_target as steve_target,
)
from diffmaac.objectives.svg import (
    SvgNoise as SvgNoise,
)
from diffmaac.objectives.svg import (
    importance_weights as importance_weights,
)
from diffmaac.objectives.svg import (
    infer_svg_noise as infer_svg_noise,
)
from diffmaac.objectives.svg import (
    svg_loss as svg_loss,
)
from diffmaac.objectives.td import (
    critic_loss as critic_loss,
)
from diffmaac.objectives.td import (
    soft_actor_loss as soft_actor_loss,
)
from diffmaac.objectives.td import (
    soft_td_target as soft_td_target,
)
from diffmaac.objectives.td import (
    temperature_loss as temperature_loss,
)
from diffmaac.objectives.world import (
    Step as Step,
)
from diffmaac.objectives.world import (
    World as World,
)
from diffmaac.objectives.world import (
    clip_adjoint as clip_adjoint,
)
