"""Tables of results, as text and as Markdown."""

from dataclasses import dataclass


@dataclass
class Table:
    """Rows are dictionaries of cells by name. `across` shows each row as a column, for few rows of many figures."""

    rows: list
    across: bool = True

    def cells(self):
        """The table as lists of texts, the heading first."""
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        cells = [names, *([text_of(row.get(name)) for name in names] for row in self.rows)]
        return [list(column) for column in zip(*cells)] if self.across else cells

    def text(self, title):
        cells = self.cells()
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines = [
            "  " + "  ".join(self.aligned(*cell) for cell in enumerate(zip(line, widths))).rstrip() for line in cells
        ]
        return "\n".join([title, *lines, ""])

    def aligned(self, index, cell):
        text, width = cell
        return text.ljust(width) if index == 0 or not self.across else text.rjust(width)

    def markdown(self, title):
        heading, *lines = [[text.replace("|", "\\|") for text in line] for line in self.cells()]
        rule = ["---"] * len(heading)
        rows = ["| " + " | ".join(line) + " |" for line in (heading, rule, *lines)]
        return "\n".join([f"## {title}", "", *rows, ""])


def text_of(value):
    if isinstance(value, dict):
        return "; ".join(f"{name} {text_of(of)}" for name, of in value.items())
    if isinstance(value, list):
        return "; ".join(map(text_of, value))
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return "" if value is None else str(value)
