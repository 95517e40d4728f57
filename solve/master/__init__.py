"""The restricted master problem over active cells."""
