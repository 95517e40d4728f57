"""Benchmarks: each module is a command, ``python -m exactrelu.bench.NAME``."""
