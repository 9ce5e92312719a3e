"""Widgets: they draw a model and send commands. They call no gRPC and hold no threads."""
