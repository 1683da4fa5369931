"""Planning: choosing actions by looking ahead through any dynamics."""

from diffmaac.planning.cem import CrossEntropyPlanner as CrossEntropyPlanner
