"""Model folders and hub ids: which there are, whether they may be loaded, and the one kept warm."""
