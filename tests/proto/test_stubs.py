from __future__ import annotations

import subprocess
import sys
from pathlib import Path

GENERATE = Path(__file__).parents[2] / "proto" / "generate.py"


def test_the_committed_stubs_are_what_the_contract_says() -> None:
    done = subprocess.run([sys.executable, GENERATE, "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_service_method_and_field_number_is_there() -> None:
    # Numbers that were once given keep their meaning for ever: a change here breaks old clients.
    from mattebox_proto.mattebox.v1 import jobs_pb2

    numbers = {field.name: field.number for field in jobs_pb2.Job.DESCRIPTOR.fields}
    assert numbers["id"] == 1
    assert numbers["error_kind"] == 12
    methods = {m.name for m in jobs_pb2.DESCRIPTOR.services_by_name["Jobs"].methods}
    assert {
        "Submit",
        "Get",
        "List",
        "Watch",
        "Cancel",
        "GetLog",
        "GetTake",
        "ListTakes",
        "ReadTake",
    } <= methods
