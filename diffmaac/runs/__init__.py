"""Runs on disk: where their parts lie, settings, checkpoints, metrics, and the lock of the process that trains."""
