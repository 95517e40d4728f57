"""The pricing problem: bounds, searches, complete visits."""
