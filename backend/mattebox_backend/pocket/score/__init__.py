"""``mattebox-train pocket-score``: a small CLIP of the synthetic world, which says how well words fit a
picture.
"""
