"""The failure that a model cannot be differentiated through MJX."""

from diffmaac.errors import DiffmaacError


class UnsupportedModel(DiffmaacError):
    """A model with something that MJX, or the step made of it, cannot do as the C engine does."""
