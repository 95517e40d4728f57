"""The directive ``bench-table``: figures straight from a table in bench/results, with the command that made it.

The pages state no figure of their own, so that they cannot go stale; a missing file, column or row is a warning.
"""

import csv
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

RESULTS = Path(__file__).resolve().parents[2] / "bench" / "results"
COMMAND = "# command: "


def shown(value):
    """A figure as a reader wants it: three digits, or the text as it stands."""
    try:
        number = float(value)
    except ValueError:
        return value
    if number.is_integer() and "e" not in value.lower():
        return f"{int(number):,}".replace(",", "\u202f")
    return f"{number:.3g}"


class BenchTable(SphinxDirective):
    """``{bench-table} FILE.csv``; ``:columns:`` holds names, or ``name=heading``, ``:where:`` ``name=value; ...``.

    A condition may name several values, ``name=this|that``.
    """

    required_arguments = 1
    option_spec = {"columns": directives.unchanged_required, "where": directives.unchanged}  # noqa: RUF012

    def run(self):
        """The table and a line with its command."""
        path = RESULTS / self.arguments[0]
        if not path.exists():
            return [self.state.document.reporter.warning(f"no {path.name} in bench/results", line=self.lineno)]
        self.env.note_dependency(str(path))
        lines = path.read_text(encoding="utf-8").splitlines()
        command = next(line for line in lines if line.startswith(COMMAND)).removeprefix(COMMAND)
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        columns = [part.strip().partition("=")[::2] for part in self.options["columns"].split(",")]
        conditions = [part.strip().partition("=")[::2] for part in self.options.get("where", "").split(";") if part]
        missing = {name for name, _ in (*columns, *conditions)} - set(rows[0] if rows else ())
        if missing:
            rows = []
        for name, values in conditions:
            rows = [row for row in rows if row[name] in values.split("|")]
        if not rows:
            text = f"{path.name}: no column {', '.join(sorted(missing))}" if missing else f"{path.name}: no such row"
            return [self.state.document.reporter.warning(text, line=self.lineno)]
        table = self._table([heading or name for name, heading in columns],
                            [[shown(row[name]) for name, _ in columns] for row in rows])  # fmt: skip
        source = nodes.paragraph("", "Made by ")
        source += nodes.literal(text=command)
        return [table, source]

    def _table(self, head, body):
        table, group = nodes.table(), nodes.tgroup(cols=len(head))
        table += group
        group += [nodes.colspec(colwidth=1) for _ in head]
        for kind, rows in ((nodes.thead, [head]), (nodes.tbody, body)):
            part = kind()
            for cells in rows:
                row = nodes.row()
                for text in cells:
                    row += nodes.entry("", nodes.paragraph(text=text))
                part += row
            group += part
        return table


def setup(app):
    """Register the directive."""
    app.add_directive("bench-table", BenchTable)
    return {"parallel_read_safe": True}
