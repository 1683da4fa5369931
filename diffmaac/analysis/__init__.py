"""Measurements of one run, task or model: gradients, models, physics, evaluations, and their figures and pages."""
