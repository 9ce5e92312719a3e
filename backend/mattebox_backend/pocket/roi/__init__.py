"""``mattebox-train pocket-roi``: a denoiser that is told where to edit, grown from pocket-sd."""
