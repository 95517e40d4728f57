"""Compilation, tasks and progress."""
