"""The gRPC server: thin servicers that validate, call and translate errors."""
