"""Statistics of samples."""

import math
import statistics


def quantile(values, share):
    """The value below which this share of the values is; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else math.nan


def median_of(rows, name):
    """The median of one figure of rows; `None` counts as infinite."""
    return statistics.median(math.inf if row[name] is None else row[name] for row in rows)


def rounded(value, digits=1):
    """A figure for a table; `-` if there is none."""
    return "-" if value is None else round(value, digits)


def milliseconds(seconds):
    return round(seconds * 1000, 1)
