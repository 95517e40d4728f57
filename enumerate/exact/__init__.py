"""Exact signs and integers: what the arrangement is decided with."""
