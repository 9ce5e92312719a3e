"""The contract between Mattebox's processes: messages, codecs, the client channel and the edit file."""

from __future__ import annotations

from mattebox_proto.version import CONTRACT, version

__all__ = ["CONTRACT", "version"]
