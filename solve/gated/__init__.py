"""Gated ReLU networks: the group lasso over given activation patterns, without cones."""
