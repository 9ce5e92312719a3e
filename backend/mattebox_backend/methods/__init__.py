"""Methods: named recipes, and the parameters that they take. Nothing here imports torch before a method
runs.
"""

from mattebox_backend.methods.parameters import Parameter
from mattebox_backend.methods.registry import (
    METHODS,
    MethodDescription,
    describe_methods,
    find_method,
)

__all__ = ["METHODS", "MethodDescription", "Parameter", "describe_methods", "find_method"]
