"""A Cloud TPU VM's place among the others, from a metadata server that stands for Google's."""

import http.server
import threading

import pytest

from img2img_jax import tpu_metadata
from img2img_jax.hosts import ALONE, Host

PLACE = "/computeMetadata/v1/instance/attributes/"
NEW = "host-a,host-b,host-c,host-d"
OLD = ",".join(f"unknown:unknown:10.0.0.{n}" for n in range(4))


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """Lets a server know these attributes; counts what it is asked."""
    started = []

    def start(known, chips=True, broken=0):
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                assert self.headers["Metadata-Flavor"] == "Google" and self.path.startswith(PLACE)
                asked.append(self.path.removeprefix(PLACE))
                found = known.get(asked[-1])
                self.send_response(503 if len(asked) <= broken else 200 if found else 404)
                self.end_headers()
                self.wfile.write((found or "none").encode())

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        started.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("GCE_METADATA_IP", f"127.0.0.1:{server.server_port}")
        if chips:
            (tmp_path / "accel0").touch()
        return asked

    monkeypatch.setattr(tpu_metadata, "DEVICES", (f"{tmp_path}/accel*",))
    monkeypatch.setattr(tpu_metadata, "PAUSE", 0.0)
    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("workers", [NEW, OLD])
def test_a_worker_of_a_slice(serve, workers):
    serve({"agent-worker-number": "2", "worker-network-endpoints": workers})
    assert Host.from_environment({}) == Host(index=2, count=4)


def test_a_worker_of_several_slices(serve):
    told = "ACCELERATOR_TYPE: 'v5litepod-16'\nMEGASCALE_NUM_SLICES: '2'\nMEGASCALE_SLICE_ID: '1'\n"
    serve({"agent-worker-number": "2", "worker-network-endpoints": NEW, "tpu-env": told})
    assert Host.from_environment({}) == Host(index=6, count=8)


def test_variables_come_first(serve):
    asked = serve({"agent-worker-number": "2", "worker-network-endpoints": NEW})
    assert Host.from_environment({"TPU_WORKER_ID": "0", "TPU_WORKER_HOSTNAMES": "a,b"}) == Host(index=0, count=2)
    assert Host.from_environment({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "3"}) == Host(index=1, count=3)
    assert asked == []


def test_nobody_is_asked_where_there_are_no_chips(serve):
    asked = serve({"agent-worker-number": "2", "worker-network-endpoints": NEW}, chips=False)
    assert Host.from_environment({}) == ALONE and asked == []


def test_a_server_that_stumbles_is_asked_again_and_one_that_knows_nothing_is_not(serve):
    serve({"agent-worker-number": "1", "worker-network-endpoints": NEW}, broken=2)
    assert Host.from_environment({}) == Host(index=1, count=4)
    asked = serve({})
    assert Host.from_environment({}) == ALONE and asked == ["agent-worker-number"]


def test_a_worker_without_others_is_an_error(serve):
    serve({"agent-worker-number": "1"})
    with pytest.raises(ValueError, match="worker-network-endpoints"):
        Host.from_environment({})
