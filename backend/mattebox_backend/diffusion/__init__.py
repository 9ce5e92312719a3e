"""Noise levels, DDIM inversion, and the one sampler loop that every method shares."""
