"""Runs compared: the paper's experiments as data, the runs that they need, aggregates, figures and tables."""
