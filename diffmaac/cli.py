"""The command line: the same words as in Python, errors in one line."""

import logging
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from diffmaac.commands.check_gradients import CheckSettings
from diffmaac.commands.evaluate import EvaluateSettings
from diffmaac.commands.gradient_error import GradientErrorSettings
from diffmaac.commands.model_error import ModelErrorSettings
from diffmaac.commands.page import PageSettings
from diffmaac.commands.plot import PlotSettings
from diffmaac.commands.reproduce import ReproduceSettings
from diffmaac.config import GROUPS, describe, parse_command, parse_words, runs_and_words
from diffmaac.errors import DiffmaacError, SettingError

if TYPE_CHECKING:
    from diffmaac.task import Criterion
    from diffmaac.training.evaluate import Evaluation

TABLE_WIDTH = 200
"""Wide enough that no column of `diffmaac envs` is cut."""


def _settings_help(intro: str) -> str:
    """`intro`, and a list of every setting with its default and meaning."""
    lines = [intro, "\b"]
    for group, cls in GROUPS.items():
        lines += ["\b", f"{group}: {(cls.__doc__ or '').strip()}", *describe(fields(cls)), ""]
    return "\n".join(lines)


TRAIN_HELP = _settings_help(
    """Train a policy, evaluate it and draw its learning curve. Settings are written name=value.

\b
  diffmaac train                                              pendulum swing-up, a few minutes
  diffmaac train env=half_cheetah dynamics=true horizon=4     through MuJoCo itself
  diffmaac train resume=runs/pendulum-maac-learned-s0-...     take up a run that was stopped
  diffmaac train config=my.yaml seed=1                        settings from a file

The defaults below are the preset `paper`; `preset=quick` (in force unless you say otherwise) and the task change
some of them. The settings that a run was made with stand in its config.yaml.
"""
)
EVALUATE_HELP = """Evaluate a run's policy (its mode), or a planner, on episodes with fixed start states.

\b
  diffmaac evaluate runs/pendulum-maac-learned-s0-... episodes=10
  diffmaac evaluate runs/half_cheetah-maac-... planner=cem dynamics=true

\b
""" + "\n".join(describe(fields(EvaluateSettings)))

CHECK_HELP = """Compare a model's step and gradient with MuJoCo's C engine; exit code 1 if a gradient is wrong.

\b
  diffmaac check-gradients env=ant
  diffmaac check-gradients model=robot.xml frame_skip=5 gradient=implicit,unrolled,finite_difference
  diffmaac check-gradients run=runs/half_cheetah-... states=256 out=check.csv

\b
""" + "\n".join(describe(fields(CheckSettings)))

GRADIENT_ERROR_HELP = """Measure the error of the policy gradient against the horizon, and whose fault it is.

\b
  diffmaac gradient-error env=double_integrator horizons=0,1,2,4,8,16,32 dynamics=learned,true seeds=8
  diffmaac gradient-error runs/half_cheetah-maac-... horizons=0,1,2,4,8,16

With env= model and critic are trained here, and the references are closed forms. Of a run, learned dynamics are
compared with the true physics on the run's own states: same critic, same start states, same noise.

\b
""" + "\n".join(describe(fields(GradientErrorSettings)))

MODEL_ERROR_HELP = """Measure a run's model on held-out real states: predictions, calibration, derivatives.

\b
  diffmaac model-error runs/half_cheetah-maac-... states=256

\b
""" + "\n".join(describe(fields(ModelErrorSettings)))

PLOT_HELP = """Compare runs of one task: return against environment steps and against wall time.

\b
  diffmaac plot runs/pendulum-* out=pendulum.png

Runs whose settings differ in nothing but the seed become one curve, the interquartile mean with its 95 % bootstrap
interval. A run that cannot be read is named, and the others are drawn.

\b
""" + "\n".join(describe(fields(PlotSettings)))

REPORT_HELP = """Write one HTML page about a run: settings, curves, times, model error, video. It needs no network.

\b
  diffmaac report runs/half_cheetah-maac-...

Figures of `diffmaac model-error RUN` and `gradient-error RUN`, and videos in RUN/videos, are shown where they exist.

\b
""" + "\n".join(describe(fields(PageSettings)))

REPRODUCE_HELP = """Make a figure or table of the paper: train the runs that are missing, then draw.

\b
  diffmaac reproduce figure2 scale=smoke                   does everything work? a minute
  diffmaac reproduce figure4 scale=quick jobs=2            hours on two cores
  diffmaac reproduce figure2 envs=half_cheetah variants=maac,sac seeds=1

\b
  figure2   learning curves of MAAC, MBPO, STEVE, SVG(1) and SAC
  figure3   the policy gradient's error against H, on the linear system
  figure4   ablations: H = 0, TD targets, the number of samples
  figure5   ablations: real data only, no entropy, one sample in a batch of 1280
  table1    MAAC with and without planning
  table2    where the time of 1,000 steps goes, for MAAC and MBPO

Runs that exist are reused, those that were stopped are resumed. Each curve is the interquartile mean over its runs with
its 95 % stratified bootstrap interval; the tables hold mean +- standard deviation beside it.

\b
""" + "\n".join(describe(fields(ReproduceSettings)))

app = typer.Typer(add_completion=True, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
Words = Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", show_default=False)]

RunAndWords = Annotated[list[str] | None, typer.Argument(metavar="[RUN] [NAME=VALUE]...", show_default=False)]


@app.callback()
def _root() -> None:
    """diffmaac: policy optimisation by backpropagation through learned or true dynamics."""


@app.command("train", help=TRAIN_HELP)
def train_command(words: Words = None) -> None:
    """Trains, evaluates and draws; its help is TRAIN_HELP, as with the commands below."""
    from diffmaac.api import complete, prepare

    given = parse_words(words or [])
    trainer = prepare(str(given.pop("env")) if "env" in given else None, given)
    out = Console(stderr=True)
    out.print(f"run directory: {trainer.folder}", highlight=False)
    try:
        run = complete(trainer)
    except KeyboardInterrupt:
        typer.echo(f"diffmaac: stopped. Go on with `diffmaac train resume={trainer.folder}`.", err=True)
        raise typer.Exit(130) from None
    _report(run.evaluation, trainer.task.criterion)
    typer.echo(f"learning curve: {run.path / 'figures' / 'learning_curve.png'}")


@app.command("evaluate", help=EVALUATE_HELP)
def evaluate_command(run: Annotated[str, typer.Argument(metavar="RUN")], words: Words = None) -> None:
    """Evaluates a run or a planner."""
    from diffmaac.commands.evaluate import evaluate_run

    report = evaluate_run(run, parse_command(EvaluateSettings, words or []))
    typer.echo(f"{report.task.name}, environment step {report.step}")
    _report(report.evaluation, report.task.criterion)
    if report.plan_ms is not None:
        at_once = f"{report.plan_together_ms:.1f} ms for {len(report.evaluation.returns)} episodes at once"
        typer.echo(f"planning: {report.plan_ms:.1f} ms a step, {at_once}; {report.diverged} candidates diverged")


@app.command("envs")
def envs_command() -> None:
    """List the tasks: sizes, time step, episode, reward and where it is from."""
    from diffmaac.task import get_task, task_names

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("task", "obs", "act", "dt [s]", "steps", "reward on s, a", "reference"):
        table.add_column(column, no_wrap=True)
    for name in task_names():
        t = get_task(name)
        sizes = (str(t.obs_size), str(t.action_size), f"{t.dt:g}", str(t.episode_steps))
        table.add_row(t.name, *sizes, t.reward_text.replace("[", "\\["), t.reference)
    Console(width=TABLE_WIDTH, soft_wrap=True).print(table, highlight=False)


@app.command("check-gradients", help=CHECK_HELP)
def check_gradients_command(words: Words = None) -> None:
    """Checks a model's gradients; exit code 1 where one is wrong."""
    from diffmaac.commands.check_gradients import check

    report = check(parse_command(CheckSettings, words or []))
    Console(width=TABLE_WIDTH, soft_wrap=True).print(report.table, highlight=False)
    for line in report.advice:
        typer.echo(line)
    if not report.right:
        raise typer.Exit(1)


@app.command("gradient-error", help=GRADIENT_ERROR_HELP)
def gradient_error_command(words: RunAndWords = None) -> None:
    """Measures the error of the policy gradient."""
    from diffmaac.commands.gradient_error import measure

    runs, said = runs_and_words(words or [])
    if len(runs) > 1:
        raise SettingError(f"{len(runs)} runs were given, {' and '.join(runs)}. Measure one at a time.")
    report = measure(runs[0] if runs else "", parse_command(GradientErrorSettings, said))
    _show(report.table, report.lines, report.files)


@app.command("model-error", help=MODEL_ERROR_HELP)
def model_error_command(run: Annotated[str, typer.Argument(metavar="RUN")], words: Words = None) -> None:
    """Measures a run's model."""
    from diffmaac.commands.model_error import measure

    report = measure(run, parse_command(ModelErrorSettings, words or []))
    _show(report.table, report.lines, report.files)


@app.command("plot", help=PLOT_HELP)
def plot_command(words: Annotated[list[str], typer.Argument(metavar="RUN... [NAME=VALUE]")]) -> None:
    """Compares runs in a figure."""
    from diffmaac.commands.plot import plot

    runs, said = runs_and_words(words)
    plotted = plot(runs, parse_command(PlotSettings, said))
    for line in plotted.broken:
        typer.echo(f"left away: {line}", err=True)
    for line in plotted.noted:
        typer.echo(line, err=True)
    for label, count in plotted.groups.items():
        typer.echo(f"{label}: {count} run{'s' if count > 1 else ''}")
    typer.echo(f"written: {plotted.file}")


@app.command("report", help=REPORT_HELP)
def report_command(run: Annotated[str, typer.Argument(metavar="RUN")], words: Words = None) -> None:
    """Writes a page about a run."""
    from diffmaac.commands.page import write_page

    typer.echo(f"written: {write_page(run, parse_command(PageSettings, words or []))}")


@app.command("reproduce", help=REPRODUCE_HELP)
def reproduce_command(experiment: Annotated[str, typer.Argument(metavar="EXPERIMENT")], words: Words = None) -> None:
    """Makes a figure or table of the paper."""
    from diffmaac.commands.reproduce import reproduce

    try:
        report = reproduce(experiment, parse_command(ReproduceSettings, words or []))
    except KeyboardInterrupt:
        typer.echo("diffmaac: stopped. The same command goes on from here.", err=True)
        raise typer.Exit(130) from None
    _show(report.table, report.lines, report.files)


def _show(table: Table, lines: Iterable[str], files: Iterable[object]) -> None:
    Console(width=TABLE_WIDTH, soft_wrap=True).print(table, highlight=False)
    for line in lines:
        typer.echo(line)
    typer.echo(f"written: {', '.join(map(str, files))}")


def _report(result: "Evaluation", criterion: "Criterion | None") -> None:
    numbers = result.metrics()
    typer.echo(f"return over {len(result.returns)} episodes: {numbers['return']:.1f} +- {numbers['return_std']:.1f}")
    if criterion is not None:
        typer.echo(f"{criterion.name}: {numbers['score']:.3f}; solved {result.solved} of {len(result.scores)} episodes")


class _EchoHandler(logging.Handler):
    """What the library has to say, on standard error, wherever that is by then (a progress line may hold it)."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(f"diffmaac: {record.getMessage()}", err=True)


@contextmanager
def _said_aloud() -> Iterator[None]:
    """Shows the library's log, from INFO on."""
    logger, handler = logging.getLogger("diffmaac"), _EchoHandler()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # absl, which JAX loads, would say it all again
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


def main(arguments: Iterable[str] | None = None) -> None:
    """The entry point. A DiffmaacError, or a file that cannot be used, becomes one line and exit code 2.

    A termination is an interruption, so that a command stops its children and says how to go on.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _said_aloud():
            app(args=list(arguments) if arguments is not None else None)
    except DiffmaacError as error:
        typer.echo(f"diffmaac: {' '.join(str(error).split())}", err=True)
        sys.exit(2)
    except OSError as error:
        typer.echo(f"diffmaac: {error.filename or 'a file'} cannot be used: {error.strerror}.", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
