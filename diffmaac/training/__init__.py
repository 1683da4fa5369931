"""Training: the loop, evaluation, metrics, checkpoints."""

from diffmaac.training.evaluate import Evaluation as Evaluation
from diffmaac.training.evaluate import evaluate as evaluate
from diffmaac.training.run import Agent as Agent
from diffmaac.training.run import load as load
from diffmaac.training.trainer import Trainer as Trainer
