"""The tree of cones: every kind of arrangement, degenerate or not."""
