"""Lines and lowest vertices: arrangements in general position, and rank 3."""
