"""The project: clip, regions, masks, takes. Plain Python: no widgets, no threads, no gRPC."""
