"""``mattebox-train pocket-controlnet``: a ControlNet on pocket-sd that reads the edges of a frame."""
