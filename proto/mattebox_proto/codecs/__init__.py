"""Messages ⇄ NumPy arrays and Python values. Every decoder checks sizes before it allocates."""
