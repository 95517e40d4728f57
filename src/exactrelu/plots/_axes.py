"""What the pictures share: colours, axes, and what can be drawn of a network or an estimator."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrelu._typing import Array
from exactrelu.losses import Loss, get_loss
from exactrelu.networks import GatedReLUNetwork, Network, ParallelReLUNetwork, ReLUNetwork

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito, Color Universal Design, 2008: told apart with every kind of colour vision
INK, GREY = "#222222", "#7a7a7a"
BLUE, RED, GREEN, PINK, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
YELLOW = "#F0E442"
CLASS_COLOURS, CLASS_MARKERS = (BLUE, RED, GREEN, PINK, ORANGE, SKY), "os^Dv*"
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"


def require_matplotlib() -> None:
    """Raise ImportError with the way to install it when matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ImportError("a picture needs matplotlib: pip install 'exactrelu[plot]'") from None


def make_axes(
    given: Any, count: int = 1, size: tuple[float, float] = (4.2, 4.2), layout: str = "constrained"
) -> list[Axes]:
    """`given`, axes or a sequence of them, as a list; or `count` new ones side by side, each of a size in inches."""
    require_matplotlib()
    if given is not None:
        return list(given) if isinstance(given, Sequence | np.ndarray) else [given]
    # only here: axes that are given need no window system
    from matplotlib import pyplot

    width, height = size
    _, axes = pyplot.subplots(1, count, figsize=(1.5 + width * count, height), layout=layout, squeeze=False)
    return list(axes[0])


def legend_below(axes: Axes, columns: int = 3) -> None:
    """A legend under the labels of the x axis, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        # two rows of two look better than three and one
        count = 2 if len(labels) == 4 else min(columns, len(labels))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=count, frameon=False)


def counted(count: int, noun: str) -> str:
    """Such as "1 neuron" and "2 neurons"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def column_names(X: Any, count: int, given: Sequence[str] | None = None) -> list[str]:
    """Names of the columns of `X`: those given, those of a data frame, or numbers."""
    names = given if given is not None else getattr(X, "columns", None)
    if names is None:
        return [f"feature {k + 1}" for k in range(count)]
    if len(names) != count:
        raise ValueError(f"X has {count} columns, got {len(names)} feature names")
    return [str(name) for name in names]


@dataclass(frozen=True)
class Drawable:
    """Networks as a function of the data's columns.

    Attributes
    ----------
    networks : list of ReLUNetwork or ParallelReLUNetwork, one, or one per class or output
    transform : maps points (k, d) to the networks' features
    read : maps outputs of the network to the values that are drawn
    classes : the two or more labels that the outputs tell apart, None for numeric targets
    """

    networks: list[Network]
    transform: Callable[[Any], Any]
    read: Callable[[Array], Array]
    classes: NDArray[Any] | None

    @property
    def n_neurons(self) -> int:
        """Neurons of all networks."""
        return sum(network.n_neurons for network in self.networks)

    def features(self, points: ArrayLike) -> Array:
        """What the networks see of the points."""
        with warnings.catch_warnings():  # points of a grid have the columns of the data, but not their names
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            return np.asarray(self.transform(points), dtype=np.float64)

    def values(self, features: Array) -> Array:
        """Values (k, networks) that are drawn."""
        return np.column_stack([self.read(network.predict(features)) for network in self.networks])


def _each_output(networks: Sequence[Network]) -> list[Network]:
    """Networks of one output each, which is what curves and maps show."""
    return [single for network in networks for single in network.single_outputs()]


def as_drawable(given: Any) -> Drawable:
    """A network, Solution, fitted estimator, or pipeline or search around one, as something to draw.

    Raises
    ------
    TypeError
        For anything else.
    sklearn.exceptions.NotFittedError
        For an estimator that was not fitted.
    """
    if isinstance(given, Network):
        return Drawable(_each_output([given]), _same, _same, None)
    # by what they have, not by class: importing the estimators would import scikit-learn
    if hasattr(given, "certificate") and hasattr(given, "network"):
        loss = _known_loss(given.certificate.loss)
        classes = np.array([-1, 1]) if loss is not None and loss.labels else None
        return Drawable(_each_output([given.network]), _same, _same if loss is None else loss.predict, classes)
    if hasattr(given, "networks_"):
        classes = getattr(given, "classes_", None)
        loss = _known_loss(given.loss) if classes is None else None  # of classes the outputs are drawn
        return Drawable(_each_output(given.networks_), _same, _same if loss is None else loss.predict, classes)
    # a search over parameters, and below a pipeline: what they wrap is drawn
    if hasattr(given, "best_estimator_"):
        return as_drawable(given.best_estimator_)
    if hasattr(given, "steps"):
        last = as_drawable(given.steps[-1][1])
        transform = given[:-1].transform if len(given.steps) > 1 else _same
        return Drawable(last.networks, transform, last.read, last.classes)
    # an estimator without networks: let scikit-learn say that it was not fitted
    if hasattr(given, "get_params"):
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(given)
    raise TypeError(f"a network, Solution or estimator of this library is needed, got {type(given).__name__}")


def _same(values: Any) -> Any:
    return values


def _known_loss(loss: str | Loss) -> Loss | None:
    """The loss; None for the name of a user's own, which only its author has."""
    try:
        return get_loss(loss)
    except ValueError:
        return None


def neurons(network: Network) -> tuple[Array, Array]:
    """Weights (inputs, m) of the neurons that are not zero, and the signs (m,) with which they enter the output.

    For three layers those of the first layer, all sub-networks side by side; of gated networks the gates, which have no
    sign of their own: 1, as neurons with several outputs.
    """
    if isinstance(network, ReLUNetwork):
        first, alpha = network.W, network.alpha
        sign = np.asarray(np.sign(alpha) if alpha.ndim == 1 else alpha.any(axis=1), dtype=np.float64)
    elif isinstance(network, GatedReLUNetwork):
        first, sign = network.gates, np.ones(network.n_neurons)
    else:
        assert isinstance(network, ParallelReLUNetwork)
        first = network.W1.transpose(1, 0, 2).reshape(network.W1.shape[1], -1)
        sign = np.sign(network.w2 * network.w3[:, None]).ravel()
    # what is zero on one side has no direction, or no effect
    use = first.any(axis=0) & (sign != 0.0)
    return first[:, use], sign[use]
