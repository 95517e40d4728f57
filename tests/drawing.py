"""What the tests of pictures share."""

from matplotlib.figure import Figure


def axes():
    return Figure().add_subplot()


def draw_all(ax):
    """Let matplotlib lay out and render the whole picture: what it cannot draw raises here."""
    ax.figure.canvas.draw()
