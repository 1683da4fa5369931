"""The paper's experiments as data: which curves, on which tasks, how large."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffmaac.keywords import GradientErrorKeywords


@dataclass(frozen=True)
class Variant:
    """One curve: what is changed, and how it is called."""

    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)


MAAC = Variant("MAAC")
COMPARED = {
    "maac": MAAC,
    "mbpo": Variant("MBPO", {"algorithm": "mbpo"}),
    "steve": Variant("STEVE", {"algorithm": "steve"}),
    "svg": Variant("SVG(1)", {"algorithm": "svg"}),
    "sac": Variant("SAC", {"algorithm": "sac"}),
}
ABLATIONS = {
    "maac": MAAC,
    "h0": Variant("H = 0", {"horizon": 0}),
    "td": Variant("TD targets", {"critic_target": "td"}),
    "samples1": Variant("one sample", {"samples": 1}),
}
QUICK_ABLATIONS = {name: variant for name, variant in ABLATIONS.items() if name != "samples1"} | {
    "samples5": Variant("five samples", {"samples": 5})
}
"""The preset `quick` has one sample."""
FURTHER_ABLATIONS = {
    "maac": MAAC,
    "real": Variant("real data only", {"data": "real"}),
    "no_entropy": Variant("no entropy", {"entropy": False}),
    "batch1280": Variant("one sample, batch of 1280", {"samples": 1, "batch_size": 1280}),
}


REGIMES: dict[str, GradientErrorKeywords] = {
    "slow": {
        "caution": 10.0,
        "transitions": 30,
        "critic_transitions": 3000,
        "critic_updates": 4000,
        "horizons": [0, 1, 2, 4, 8, 16, 32, 64],
    },
    "fast": {},
}
"""Figure 3's policies. About a slow one a model of little data makes errors that add up for long: the error of its
gradient falls with H, as the critic's part does, and then rises, as in the paper. A fast one settles before they do."""


@dataclass(frozen=True)
class Amount:
    """How much of a task: environment steps, and seeds."""

    steps: int
    seeds: int


@dataclass(frozen=True)
class Scale:
    """How large an experiment is: what changes in every run, tasks for comparisons and for ablations."""

    changes: Mapping[str, Any]
    comparison: Mapping[str, Amount]
    ablation: Mapping[str, Amount]
    gradient_error: GradientErrorKeywords
    """Settings of `diffmaac gradient-error` for figure 3."""
    episodes: int
    """Evaluation episodes of table 1."""
    ablations: Mapping[str, Variant] = field(default_factory=lambda: ABLATIONS)
    """Figure 4's variants."""


SMOKE = {
    "random_steps": 40,
    "epoch_steps": 40,
    "eval_episodes": 2,
    "final_episodes": 1,
    "hidden": [16],
    "members": 2,
    "model_hidden": [16],
    "model_epochs": 2,
    "model_every": 40,
    "imagine_every": 20,
    "imagined_states": 100,
    "updates_per_step": 1,
}
"""Settings at which a run takes seconds and learns nothing: that everything works is all that is shown."""
SCALES = {
    "smoke": Scale(
        SMOKE,
        comparison={"pendulum": Amount(120, 2)},
        ablation={"pendulum": Amount(120, 1)},
        gradient_error={"seeds": 1, "horizons": [0, 2]},
        episodes=1,
        ablations=QUICK_ABLATIONS,
    ),
    "quick": Scale(
        {"preset": "quick"},
        comparison={
            "pendulum": Amount(6_000, 5),
            "cartpole": Amount(12_000, 5),
            "half_cheetah": Amount(50_000, 3),
            "hopper": Amount(100_000, 3),
            "walker2d": Amount(100_000, 3),
            "ant": Amount(150_000, 3),
        },
        ablation={"half_cheetah": Amount(15_000, 3)},
        gradient_error={"seeds": 8},
        episodes=10,
        ablations=QUICK_ABLATIONS,
    ),
    "full": Scale(
        {"preset": "paper"},
        comparison={name: Amount(200_000, 4) for name in ("ant", "half_cheetah", "hopper", "walker2d")},
        ablation={name: Amount(200_000, 4) for name in ("ant", "half_cheetah", "hopper", "walker2d")},
        gradient_error={"seeds": 24},
        episodes=10,
    ),
}
"""`full` is the paper's scale (ant's 300,000 steps apart). `smoke` takes a minute. `quick` takes two cores days, mostly
for the paper's four tasks."""
