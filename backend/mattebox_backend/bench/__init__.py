"""Benchmarks of edits on the synthetic world, and the demo clip that ships."""
