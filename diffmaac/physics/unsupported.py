"""The refusal of a model."""

from diffmaac.errors import DiffmaacError


class UnsupportedModel(DiffmaacError):
    """A model with something that a gradient cannot do as the C engine does."""
