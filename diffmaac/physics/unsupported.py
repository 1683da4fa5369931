"""The refusal of a model."""


class UnsupportedModel(ValueError):
    """A model with something that a gradient cannot do as the C engine does."""
