"""Descent of neurons across cells."""
