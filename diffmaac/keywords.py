"""The keywords of the public functions, for editors and type checkers: the words of the command line.

Written by `python -m diffmaac.commands.keywords`; a test compares it with the settings.
"""

from os import PathLike
from typing import Literal, TypeAlias, TypedDict

Words: TypeAlias = str | list[str]
Numbers: TypeAlias = str | list[int]


class TrainKeywords(TypedDict, total=False):
    """The settings of a run."""

    dynamics: Literal["learned", "true", "mixed"]
    """what the gradient flows through; default learned"""

    identified: str | PathLike[str]
    """identified model that dynamics=true goes through, a file of Identification.save; empty: the task's own;
    default empty"""

    mixed_values: Literal["learned", "true"]
    """whose states dynamics=mixed visits; the derivatives are the other's; default true"""

    algorithm: Literal["maac", "mbpo", "sac", "steve", "svg"]
    """algorithm; default maac"""

    preset: Literal["paper", "quick"]
    """settings to start from; default quick"""

    seed: int
    """seed of every random stream [between 0 and 2,147,483,647]; default 0"""

    steps: int
    """environment steps in total [between 1 and 1,000,000,000]; default 200000"""

    device: Literal["cpu", "cuda", "auto"]
    """where torch computes; auto: on CUDA where there is one, whose numbers are not those of the CPU; default
    cpu"""

    cuda_graph: bool
    """record what repeats as CUDA graphs; false: launch each operation from Python; default true"""

    threads: int
    """torch threads; 0 leaves torch's own choice [between 0 and 1,024]; default 0"""

    out: str | PathLike[str]
    """run directory; empty: runs/<task>-<algorithm>-<dynamics>-s<seed>-<time>; default empty"""

    horizon: int | Literal["auto"]
    """H, dynamics steps that the policy gradient backpropagates through; 0 is SAC's actor [auto, or between 0 and
    1,000]; default 4"""

    auto_horizons: Numbers
    """horizons among which horizon=auto chooses each epoch [between 0 and 1,000]; default [0,1,2,4,8]"""

    samples: int
    """trajectories for each start state of the actor's objective [between 1 and 10,000]; default 5"""

    batch_size: int
    """transitions in a critic batch [between 1 and 1,048,576]; default 256"""

    actor_batch_size: int
    """start states in an actor batch, at most batch_size; 0: batch_size [between 0 and 1,048,576]; default 0"""

    updates_per_step: int
    """critic updates for each environment step [between 1 and 1,000]; default 8"""

    actor_every: int
    """critic updates for each actor update [between 1 and 1,000,000]; default 1"""

    actor_objective: Literal["pathwise", "svg"]
    """what the policy climbs: J_H, or SVG(1) at replayed transitions; default pathwise"""

    importance_clip: float
    """largest importance weight of a replayed action (SVG) [at least 1e-06]; default 5.0"""

    critics: int
    """critics; of more than two, pairs take the minimum and are averaged [between 1 and 100]; default 2"""

    layer_norm: bool
    """normalise the layers of the critics; default false"""

    entropy: bool
    """reward the policy's entropy; false: temperature 0; default true"""

    critic_target: Literal["steve", "td"]
    """target of the critic; default steve"""

    steve_horizon: int
    """model steps of the longest STEVE target [between 0 and 1,000]; default 2"""

    steve_floor: float
    """floor of STEVE's variances, in units of their batch mean [at least 1e-06]; default 0.5"""

    gamma: float
    """discount factor [between 0.0 and 1.0]; default 0.99"""

    tau: float
    """rate at which target critics follow [between 0.0 and 1.0]; default 0.005"""

    policy_tau: float
    """rate at which the policy that is evaluated follows the one that learns; 1: they are one [between 1e-06 and
    1.0]; default 1.0"""

    actor_lr: float
    """Adam step size of the policy [at least 1e-12]; default 0.0003"""

    critic_lr: float
    """Adam step size of the critics [at least 1e-12]; default 0.0003"""

    alpha_lr: float
    """Adam step size of the temperature [at least 1e-12]; default 0.0003"""

    initial_alpha: float
    """temperature at the start [at least 1e-12]; default 1.0"""

    target_entropy: float
    """entropy that the temperature aims at, for each action dimension [nats]; default -1.0"""

    hidden: Numbers
    """widths of the hidden layers of policy and critics [between 1 and 65,536]; default [256,256]"""

    adjoint_clip: float
    """norm, in medians of the batch, to which each state's gradient is clipped on its way back; 0: none [at least
    0.0]; default 0.0"""

    max_grad_norm: float
    """norm to which the policy gradient is clipped [at least 1e-12]; default 100.0"""

    members: int
    """members of the ensemble; with identified=, draws from the posterior, or the estimate alone: 1 [between 1 and
    1,000]; default 8"""

    model_hidden: Numbers
    """widths of the hidden layers of a member [between 1 and 65,536]; default [200,200,200,200]"""

    model_lr: float
    """Adam step size of the ensemble [at least 1e-12]; default 0.001"""

    model_batch_size: int
    """transitions in a batch, for each member [between 1 and 1,048,576]; default 256"""

    model_every: int
    """environment steps between two fits [between 1 and 1,000,000,000]; default 1000"""

    model_epochs: int
    """most epochs of one fit [between 1 and 1,000,000]; default 200"""

    model_steps: int
    """most gradient steps of one fit, on recent and old data mixed; 0: as many as model_epochs passes take [between
    0 and 1,000,000,000]; default 0"""

    model_recent: float
    """share of recent transitions in the batches of model_steps [between 0.0 and 1.0]; default 0.5"""

    model_patience: int
    """epochs without improvement on held-out data after which a fit stops [between 1 and 1,000,000]; default 5"""

    validation: float
    """share of the data held out [between 0.01 and 0.9]; default 0.2"""

    weight_decay: float
    """L2 penalty on the weights (not on biases and bounds of the variance) [at least 0.0]; default 0.0"""

    random_steps: int
    """environment steps of uniformly random actions at the start [between 10 and 1,000,000,000]; default 5000"""

    reset_every: int
    """most environment steps of a training episode; 0: as many as the task's [between 0 and 1,000,000,000]; default
    0"""

    fall_ends: bool
    """a fall is the end of a training episode; evaluations go on; default false"""

    fall_reward: float
    """reward of each step that would follow the fall, for ever: a fall is worth fall_reward / (1 - gamma); default
    0.0"""

    data: Literal["mixed", "real"]
    """what critic and policy train on; default mixed"""

    real_ratio: float
    """share of real transitions in a mixed batch [between 0.0 and 1.0]; default 0.05"""

    imagined_states: int
    """imagined transitions made each time, all rollout steps together [between 1 and 1,000,000,000]; default
    100000"""

    imagine_every: int
    """environment steps between two imaginations [between 1 and 1,000,000,000]; default 250"""

    imagined_keep: int
    """imaginations that the imagined replay keeps [between 1 and 1,000,000]; default 4"""

    rollout_length: Numbers
    """length of imagined rollouts at the start and at the end of the ramp [between 1 and 1,000,000]; default
    [1,1]"""

    n_step: int
    """most steps of an imagined rollout that a critic's target sums up before it asks the critic [between 1 and
    1,000,000]; default 1"""

    rollout_ramp: Numbers
    """environment steps between which the length grows [between 0 and 1,000,000,000]; default [20000,100000]"""

    epoch_steps: int
    """environment steps between two evaluations, log rows and checkpoints [between 1 and 1,000,000,000]; default
    1000"""

    eval_episodes: int
    """episodes of an evaluation; fewer than five choose no best policy [between 1 and 10,000]; default 5"""

    final_episodes: int
    """episodes of the evaluation after training [between 1 and 10,000]; default 10"""

    log: Words
    """where the numbers go, separated by commas; metrics.csv is always written; default [csv,tensorboard]"""

    log_model_error: bool
    """log eps_f, the error of the model's derivatives, every five epochs; default false"""

    config: str | PathLike[str]
    """YAML file with further settings"""

    resume: str | PathLike[str]
    """run directory to take up where its checkpoint stands"""


class EvaluateKeywords(TypedDict, total=False):
    """What is evaluated, over how many episodes; the first four, and `dynamics`, are the planner's."""

    candidates: int
    """action sequences in each iteration [between 2 and 1,048,576]; default 256"""

    elites: float
    """share of the candidates that the next ones are drawn around [between 1e-06 and 1.0]; default 0.1"""

    iterations: int
    """iterations [between 1 and 10,000]; default 5"""

    plan_horizon: int
    """actions in a sequence [between 1 and 1,000]; default 5"""

    episodes: int | Literal["run"]
    """episodes to run; run: its final_episodes [run, or between 1 and 10,000]; default run"""

    seed: int | Literal["run"]
    """seed of the start states; run: its own [run, or between 0 and 2,147,483,647]; default run"""

    which: Literal["last", "best"]
    """policy of the last checkpoint, or of the best evaluation; default last"""

    planner: Literal["none", "cem"]
    """what chooses the actions; none: the policy's mode; default none"""

    dynamics: Literal["run", "learned", "true"]
    """what the planner looks ahead through; run: its model, or the physics; default run"""

    video: str | PathLike[str]
    """MP4 file for the first episode, drawn without a screen (EGL or OSMesa); default empty"""


class CheckKeywords(TypedDict, total=False):
    """What is checked, and on how many states."""

    env: str | PathLike[str]
    """task whose MuJoCo model is checked; default empty"""

    model: str | PathLike[str]
    """path of an MJCF to check in place of a task's; default empty"""

    run: str | PathLike[str]
    """run directory: states that its policy visits, of its task; default empty"""

    frame_skip: int
    """time steps of a control step; 0: the task's own, 1 for model= [between 0 and 1,000]; default 0"""

    states: int
    """states to compare in, with an active constraint where they can be found [between 1 and 1,048,576]; default
    64"""

    gradient: Words
    """one or more, separated by commas; default [auto]"""

    precision: Literal["float32", "float64"]
    """precision of the inputs; default float64"""

    seed: int
    """seed of controls and cotangents [between 0 and 2,147,483,647]; default 0"""

    out: str | PathLike[str]
    """file for the numbers, as CSV; default empty"""


class GradientErrorKeywords(TypedDict, total=False):
    """What is compared. Give env= (a task with a closed form) or the directory of a run."""

    env: str | PathLike[str]
    """task with linear dynamics and quadratic reward: model and critic are trained here; default empty"""

    horizons: Numbers
    """horizons, whole numbers [between 0 and 1,000]; default [0,1,2,4,8,16,32]"""

    dynamics: Words
    """whose gradient: learned, true, or both; default [learned,true]"""

    seeds: int
    """env=: how many times model and critic are trained [between 1 and 10,000]; default 8"""

    gamma: float
    """env=: discount [between 0.1 and 0.999]; default 0.9"""

    process_std: float
    """env=: standard deviation of the noise that a step adds [at least 0.0]; default 0.05"""

    transitions: int
    """env=: real transitions that model and critic learn from [between 20 and 10,000,000]; default 1000"""

    caution: float
    """env=: the policy is optimal for a control cost so many times the task's: above 1 slow, below quick [at least
    1e-06]; default 0.1"""

    critic_transitions: int
    """env=: other transitions for the critic; 0: those of the model [between 0 and 10,000,000]; default 0"""

    critic_updates: int
    """env=: gradient steps that the critic learns for [between 1 and 1,000,000]; default 2000"""

    samples: int
    """a run: trajectories for each gradient, at most; but no fewer than eight chunks [between 1 and 1,000,000,000];
    default 4096"""

    chunk: int
    """a run: trajectories at a time [between 2 and 1,048,576]; default 256"""

    rollout: int
    """a run: steps of the true rollouts in place of the true critic; 0: its own critic [between 0 and 1,000];
    default 0"""

    seed: int
    """first seed [between 0 and 2,147,483,647]; default 0"""

    out: str | PathLike[str]
    """directory of gradient_error.csv and .png; default: RUN/figures, runs/gradient-error-ENV; default empty"""


class ModelErrorKeywords(TypedDict, total=False):
    """On what, and how much of it."""

    states: int
    """held-out real states on which derivatives are compared, the last ones first [between 2 and 1,048,576];
    default 256"""

    steps: int
    """steps of the open-loop prediction [between 1 and 1,000]; default 20"""

    episodes: int
    """real episodes whose reward a step is compared with that of imagined ones [between 1 and 1,000]; default 8"""

    copies: int
    """imagined episodes from each of their start states [between 1 and 100]; default 8"""

    episode_steps: int
    """steps of these episodes, at most the task's own [between 1 and 1,000,000]; default 300"""

    seed: int
    """seed of start states and of the actions' noise [between 0 and 2,147,483,647]; default 0"""

    out: str | PathLike[str]
    """directory for the tables and the figures; default: RUN/figures; default empty"""


class ReportKeywords(TypedDict, total=False):
    """What goes on the page, and where it goes."""

    out: str | PathLike[str]
    """HTML file; empty: RUN/report.html; default empty"""

    video: str | PathLike[str]
    """MP4 file to show; empty: those in RUN/videos; default empty"""


class ExportKeywords(TypedDict, total=False):
    """Which policy."""

    which: Literal["last", "best"]
    """policy of the last checkpoint, or of the best evaluation; default last"""


class PlotKeywords(TypedDict, total=False):
    """Where the figure goes."""

    out: str | PathLike[str]
    """file of the figure; default comparison.png"""


class ReproduceKeywords(TypedDict, total=False):
    """How large, of which tasks, and where."""

    jobs: int
    """runs trained at a time; 0: as many as there are cores, or with engine=ray as the cluster takes [between 0 and
    10,000]; default 0"""

    engine: Literal["local", "ray"]
    """processes of this machine, or tasks of Ray; default local"""

    address: str | PathLike[str]
    """engine=ray: the cluster, as host:port, ray://host:10001 or auto; empty: a Ray of this machine alone; default
    empty"""

    gpus: float
    """engine=ray: GPUs that a run on device=cuda or auto holds; 0.25: four share one [between 0.0 and 8]; default
    1.0"""

    memory: float
    """engine=ray: memory that a run holds [GB]; 0: as much as there is [between 0.0 and 1,000,000.0]; default
    0.0"""

    retries: int
    """engine=ray: how often a run is taken up again whose worker or node was lost [between 0 and 1,000]; default
    3"""

    storage: str | PathLike[str]
    """engine=ray: where runs are kept while they train, as s3://bucket/folder; empty: all nodes share out=; default
    empty"""

    scale: Literal["smoke", "quick", "full"]
    """smoke: a minute; quick: hours to days on two cores; full: the paper's; default quick"""

    envs: Words
    """tasks, separated by commas; empty: those of the scale; default []"""

    variants: Words
    """curves, separated by commas, for example maac,sac; empty: all; default []"""

    seeds: int
    """runs of each curve; 0: as many as the scale has [between 0 and 10,000]; default 0"""

    steps: int
    """environment steps of a run; 0: as many as the scale has [between 0 and 1,000,000,000]; default 0"""

    hours: float
    """wall time that training may take, by a first estimate; 0: no bound [at least 0.0]; default 0.0"""

    runs: str | PathLike[str]
    """directory of the runs; empty: runs/reproduce/<scale>; default empty"""

    out: str | PathLike[str]
    """directory of figures and tables; empty: that of the runs; default empty"""

    train: bool
    """train what is missing; false: use the runs at hand as they are; default true"""


class RunsKeywords(TypedDict, total=False):
    """How the list is ordered."""

    sort: Literal["name", "return", "step", "state", "time"]
    """by what; return: the best first; default name"""
