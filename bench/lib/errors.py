"""Errors that end a scenario without a result."""


class MeasurementError(Exception):
    """The scenario can't measure: the machine lacks something, or a server behaves unexpectedly."""
