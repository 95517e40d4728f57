"""The tree of cones that proves certificates: bounds hold on every cone, thin or flat ones too, and trees end."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exactrelu.certificates._audit import kinks_of
from exactrelu.certificates._cones import ConeTree, Kinks, cone_bounds, simplex_cones


def some_cones(rng, r, kind, count=6):
    """Unit rays (count, r, r): at random, five of them nearly one, two of them one, or all nearly in a plane."""
    rays = rng.standard_normal((count, r, r))
    if kind == "one far":
        rays[:, 1:] = rays[:, :1] + 1e-6 * rays[:, 1:]
    elif kind == "flat":
        rays[:2, 1] = rays[:2, 0]
    elif kind == "thin":
        rays[:, 2:] = rays[:, :1] * rng.random((count, r - 2, 1)) + rays[:, 1:2] + 1e-7 * rays[:, 2:]
    return rays / np.linalg.norm(rays, axis=2, keepdims=True)


@given(
    seed=st.integers(0, 2**32 - 1),
    r=st.integers(3, 7),
    kind=st.sampled_from(["random", "one far", "flat", "thin"]),
    kinks=st.tuples(st.integers(0, 6), st.integers(0, 6)),
)
@settings(max_examples=150)
def test_no_point_of_a_cone_is_above_its_bound(seed, r, kind, kinks):
    rng = np.random.default_rng(seed)
    cones = some_cones(rng, r, kind)
    F = Kinks(rng.standard_normal(r), rng.standard_normal((kinks[0], r)), rng.standard_normal((kinks[1], r)))
    interpolated = cones @ F.linear + np.abs(cones @ F.convex.T).sum(axis=2)
    bounds, shares = cone_bounds(cones, interpolated, F.concave, 0.0)
    assert (shares > 0.0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    for cone, bound in zip(cones, bounds, strict=True):
        points = rng.dirichlet(np.full(r, 0.3), 300) @ cone
        length = np.linalg.norm(points, axis=1, keepdims=True)
        points = np.vstack([cone, np.divide(points, length, out=np.zeros_like(points), where=length > 0.0)])
        assert F(points).max() <= bound + 1e-9 * (1.0 + np.abs(interpolated).max())


def test_a_cone_without_volume_costs_the_others_nothing():
    rng = np.random.default_rng(3)
    cones, concave = some_cones(rng, 5, "random"), rng.standard_normal((4, 5))
    interpolated = rng.standard_normal((6, 5))
    alone = cone_bounds(cones[1:], interpolated[1:], concave, 0.0)[0]
    cones[0, 1] = cones[0, 0]
    together = cone_bounds(cones, interpolated, concave, 0.0)[0]
    assert np.isfinite(alone).any()
    np.testing.assert_allclose(together[1:], alone, rtol=1e-12)


def test_rays_that_are_nearly_one_do_not_hide_that_a_cone_is_narrow():
    """Their mean is more than a right angle from the ray that is far: 110 degrees from them, and 55 from the middle."""
    rays = np.tile([1.0, 0.0, 0.0, 0.0, 0.0], (5, 1)) + 1e-6 * np.eye(5)
    rays[4] = [np.cos(np.radians(110.0)), np.sin(np.radians(110.0)), 0.0, 0.0, 0.0]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    bound = cone_bounds(rays[None], np.full((1, 5), 0.5), np.zeros((0, 5)), 0.0)[0][0]
    assert bound == pytest.approx(0.5 / np.cos(np.radians(55.0)), rel=1e-3)  # of the linear function itself


@pytest.mark.parametrize("seed", range(4))
def test_trees_of_binary_columns_end(seed):
    """Hundreds of kinks meet along their edges, so that cones become thin: 10^6 were not enough."""
    rng = np.random.default_rng(seed)
    Z = np.unique(np.column_stack([rng.integers(0, 2, (30, 5)), rng.standard_normal(30), np.ones(30)]), axis=0)
    theta = rng.standard_normal(len(Z))
    F, _ = kinks_of(Z, theta - theta.mean())
    points = rng.standard_normal((20_000, 7))
    top = F(points / np.linalg.norm(points, axis=1, keepdims=True)).max()
    tree = ConeTree(F, 1.6 * top)
    assert tree.run(1e6, None)
    assert top <= tree.target
    assert tree.cones < 10_000


def test_the_first_cones_cover_the_space():
    rng = np.random.default_rng(0)
    for r in (2, 4, 7):
        shares = np.linalg.solve(simplex_cones(r).transpose(0, 2, 1), rng.standard_normal((50, 1, r, 1)))
        assert (shares.min(axis=(2, 3)) >= -1e-12).any(axis=1).all()
