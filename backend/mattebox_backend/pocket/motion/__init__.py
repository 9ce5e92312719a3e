"""The making of ``pocket-motion``: a MotionAdapter that turns pocket-sd into a text-to-video model."""
