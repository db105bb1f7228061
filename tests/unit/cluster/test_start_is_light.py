"""What a cluster needs is imported by hosts in one alone: no daemon's restart is to wait for it."""

import json
import subprocess
import sys

_HEAVY = ("cryptography", "h2", "carrick.engine.cluster.joining", "carrick.doors.node", "carrick.lab")


def test_a_daemon_without_a_cluster_imports_none_of_it() -> None:
    script = "import json, sys, carrick.daemon; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "carrick.engine.engine" in loaded
    assert not loaded & set(_HEAVY)
