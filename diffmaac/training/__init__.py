"""Training: the loop, the machine that it runs on, evaluation, progress, and the agent that comes out."""
