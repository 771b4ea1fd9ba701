"""Real processes deal a run among themselves; one is killed; a rerun makes what is missing, and nothing twice."""

import collections
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from img2img_jax.inputs import find_inputs
from img2img_jax.runs import make_plan, run

HERE = Path(__file__).parent
HELPERS = SimpleNamespace(**runpy.run_path(HERE / "conftest.py"))

_HOSTS = """
import os, runpy, signal, sys
from pathlib import Path
from types import SimpleNamespace

from img2img_jax.hosts import Host
from img2img_jax.inputs import find_inputs
from img2img_jax.runs import HostDied, host_records, make_plan, run

helpers = SimpleNamespace(**runpy.run_path(sys.argv[1]))
folder, workdir, count, victim = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
host_records.BEAT, host_records.PATIENCE = 0.2, 2.0


class Dying(helpers.Painter):
    def __call__(self, *arguments, **options):
        if len(self.calls) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(*arguments, **options)


def child(index):
    pipe = Dying() if index == victim else helpers.Painter()
    plan = make_plan(find_inputs(folder), strengths=[0, 0.5, 1], seeds=[0, 1, 2], batch_size=4)
    try:
        rows = run(
            pipe,
            plan,
            workdir,
            provenance=helpers.PROVENANCE,
            manifest=helpers.MANIFEST,
            host=Host(index=index, count=count),
        )
    except HostDied as died:
        print(died, file=sys.stderr, flush=True)
        os._exit(7)
    assert bool(rows) == (index == 0)
    os._exit(0)


children = []
for index in range(count):
    children.append(os.fork())
    if children[-1] == 0:
        child(index)
print(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""


@pytest.fixture
def undisturbed(folder, tmp_path):
    plan = make_plan(find_inputs(folder), strengths=[0, 0.5, 1], seeds=[0, 1, 2], batch_size=4)
    run(HELPERS.Painter(), plan, tmp_path / "one", provenance=HELPERS.PROVENANCE, manifest=HELPERS.MANIFEST)
    return HELPERS.files(tmp_path / "one")


@pytest.fixture
def on_hosts(folder, tmp_path):
    """Runs in processes, the one of index `victim` killed in its second batch; returns exit codes and messages."""

    def on(count, victim=-1):
        command = [
            sys.executable,
            "-c",
            _HOSTS,
            HERE / "conftest.py",
            folder,
            tmp_path / "many",
            str(count),
            str(victim),
        ]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        return [int(code) for code in done.stdout.split()], done.stderr

    return on


def files(workdir):
    return {name: content for name, content in HELPERS.files(workdir).items() if not name.startswith("hosts/")}


def made(workdir):
    """How often each batch was finished, on whatever host."""
    logs = [workdir / "seconds.jsonl", *workdir.glob("hosts/*/seconds.jsonl")]
    lines = [line for log in logs if log.is_file() for line in log.read_text().splitlines()]
    return collections.Counter(json.loads(line)["batch"] for line in lines)


@pytest.mark.parametrize(("count", "rerun"), [(2, 2), (4, 3), (4, 1)])
def test_a_host_that_dies_is_found_and_its_work_is_done_by_a_rerun(
    folder, undisturbed, on_hosts, tmp_path, count, rerun
):
    codes, said = on_hosts(count, victim=1)
    assert codes == [7, -9, *[0] * (count - 2)], said
    assert f"host 1 of {count} stopped" in said and "Start the run again" in said
    assert not (tmp_path / "many" / "rows.jsonl").exists()
    before = made(tmp_path / "many")
    assert before[1] == 1 and before[1 + count] == 0  # the victim had made one batch, and was in its second
    codes, said = on_hosts(rerun)
    assert codes == [0] * rerun, said
    assert files(tmp_path / "many") == undisturbed
    batches = sum(name.startswith("rows/0") for name in undisturbed)
    assert made(tmp_path / "many") == dict.fromkeys(range(batches), 1)


def test_undisturbed_hosts_leave_what_one_would(undisturbed, on_hosts, tmp_path):
    codes, said = on_hosts(4)
    assert codes == [0] * 4, said
    assert files(tmp_path / "many") == undisturbed


def test_a_host_removes_what_it_left_unfinished_and_nothing_else(tmp_path):
    from img2img_jax.hosts import Host
    from img2img_jax.runs.host_records import HostRecords

    names = ("0/.gitignore", "0/.0.jsonl.abcdefgh", "1/.0.jsonl.abcdefgh")
    paths = [tmp_path / "hosts" / f"00{name[0]}" / "rows" / name[2:] for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    HostRecords(tmp_path, Host(index=0, count=2)).open({}, {})
    assert [path.exists() for path in paths] == [True, False, True]


def test_a_host_that_never_came_is_found_too(tmp_path, folder, monkeypatch):
    from img2img_jax.hosts import Host
    from img2img_jax.runs import HostDied, host_records

    monkeypatch.setattr(host_records, "BEAT", 0.05)
    monkeypatch.setattr(host_records, "PATIENCE", 0.3)
    plan = make_plan(find_inputs(folder), strengths=[0.5], batch_size=2)
    with pytest.raises(HostDied, match="host 1 of 2 stopped"):
        run(
            HELPERS.Painter(),
            plan,
            tmp_path / "w",
            provenance=HELPERS.PROVENANCE,
            manifest=HELPERS.MANIFEST,
            host=Host(index=0, count=2),
        )
