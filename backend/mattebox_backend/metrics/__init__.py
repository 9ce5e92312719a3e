"""Measures of an edit. Frames are (F, H, W, 3) uint8 RGB, masks (F, H, W) uint8 or bool where non-zero means
inside.
"""
