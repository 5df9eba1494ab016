"""Who can learn from whom: students whose start is their teacher's in part, or in nothing."""
