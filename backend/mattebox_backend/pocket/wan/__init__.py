"""Making `pocket-wan-i2v`: a small image-to-video model of the Wan family."""
