"""Backend connection, decoding, playback, export, recovery: threads live here, and nowhere else."""
