"""One line per round of training: rewritten in place on a terminal, appended elsewhere."""

from __future__ import annotations

import sys

from ._solution import State


class Progress:
    """Prints the state of training when `verbose` is positive."""

    def __init__(self, verbose: int) -> None:
        self.verbose = verbose
        self._terminal = verbose > 0 and sys.stderr.isatty()

    def show(self, state: State) -> None:
        """Show one round."""
        if self.verbose <= 0:
            return
        line = (
            f"round {state.round:3d}   neurons {state.neurons:4d}   objective {state.objective:.8g}   "
            f"bound {state.lower_bound:.8g}   gap {state.gap:.1e}   cells seen {state.cells:,}   {state.seconds:.1f} s"
        )
        print(f"\r\033[K{line}" if self._terminal else line, end="" if self._terminal else "\n", file=sys.stderr)
        sys.stderr.flush()

    def close(self) -> None:
        """End the line."""
        if self._terminal:
            print(file=sys.stderr)
