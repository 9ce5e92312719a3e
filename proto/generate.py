"""Makes the Python stubs from the contract's .proto files.

``python proto/generate.py`` writes ``mattebox_proto/mattebox/v1/*_pb2.py``, ``*_pb2_grpc.py`` and their type
stubs; ``--check`` writes nothing and exits with 1 when what is committed differs from what would be written.
The generators are pinned in the ``test`` extra, so the same input gives the same bytes on every machine.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import sysconfig
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "mattebox" / "v1"
TARGET = ROOT / "mattebox_proto" / "mattebox" / "v1"

# protoc writes imports as if `proto/` stood on the path; the stubs live inside `mattebox_proto`, because a
# top-level package `mattebox` would collide with others on a user's path.
IMPORT = re.compile(r"^(from|import) mattebox\.v1\b", re.MULTILINE)
SERVICE = re.compile(r"^service \w+", re.MULTILINE)
PACKAGE = '"""Stubs made by proto/generate.py from proto/mattebox/v1/*.proto; do not edit."""\n'


def compile_stubs() -> dict[str, str]:
    """Returns file name → text of every stub, made in a temporary folder."""
    sources = sorted(SOURCES.glob("*.proto"))
    with_services = [path for path in sources if SERVICE.search(path.read_text(encoding="utf-8"))]
    with tempfile.TemporaryDirectory() as folder:
        _protoc(folder, ["--python_out", "--mypy_out=quiet"], sources)
        _protoc(folder, ["--grpc_python_out", "--mypy_grpc_out=quiet,only_sync"], with_services)
        made = sorted((Path(folder) / "mattebox" / "v1").iterdir())
        stubs = {path.name: _rewrite(path.read_text(encoding="utf-8")) for path in made}
    stubs["__init__.py"] = PACKAGE
    return stubs


def _protoc(folder: str, outputs: list[str], sources: list[Path]) -> None:
    flags = []
    for output in outputs:
        name, _, options = output.partition("=")
        flags.append(f"{name}={options}:{folder}" if options else f"{name}={folder}")
    well_known = Path(protoc.__file__).parent / "_proto"
    names = [path.relative_to(ROOT).as_posix() for path in sources]
    status = protoc.main(["protoc", f"-I{ROOT}", f"-I{well_known}", *flags, *names])
    if status != 0:
        raise SystemExit(f"protoc ended with status {status}; its message stands above")


def _rewrite(text: str) -> str:
    text = IMPORT.sub(r"\1 mattebox_proto.mattebox.v1", text)
    return "".join(line.rstrip() + "\n" for line in text.splitlines())


def stale(stubs: dict[str, str]) -> list[str]:
    """Returns the names of the files that are missing, differ, or should not be there."""
    present = {path.name: path.read_text(encoding="utf-8") for path in TARGET.glob("*.py*") if path.is_file()}
    return sorted(name for name in stubs.keys() | present.keys() if stubs.get(name) != present.get(name))


def write(stubs: dict[str, str]) -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    (TARGET.parent / "__init__.py").write_text(PACKAGE, encoding="utf-8")
    for path in TARGET.glob("*.py*"):
        if path.name not in stubs:
            path.unlink()
    for name, text in stubs.items():
        (TARGET / name).write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if stubs are stale")
    arguments = parser.parse_args()
    # protoc finds its plugins (protoc-gen-mypy) on PATH; a venv that is not activated is not on it.
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    stubs = compile_stubs()
    changed = stale(stubs)
    if not arguments.check:
        write(stubs)
        print(f"{len(stubs)} files, {len(changed)} changed, in {TARGET}")
        return 0
    if changed:
        print(f"stale stubs: {', '.join(changed)}; run `python proto/generate.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
