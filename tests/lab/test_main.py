"""The command of every experiment: what its flags ask for."""

import sys

import pytest

from img2img_jax.hosts import Host
from img2img_jax.lab import main


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Runs the command up to the experiment; gives the exit code, the host it is for, and what was said."""
    hosts = []

    def start(config, workdir, *, host):
        hosts.append(host)
        raise ValueError("far enough")

    def run(*given):
        monkeypatch.setattr(main, "Experiment", start)
        configuration = "--config=configs/strength_sweep.py:tiny"
        monkeypatch.setattr(sys, "argv", ["run.py", configuration, f"--workdir={tmp_path}", *given])
        with pytest.raises(SystemExit) as ended:
            main.main(lambda results: "")
        return ended.value.code, hosts, capsys.readouterr().err

    return run


def test_a_place_among_hosts_reaches_the_experiment(command):
    code, hosts, _ = command("--hosts=2/3")
    assert hosts == [Host(index=2, count=3)] and code == 1


def test_a_place_that_does_not_exist_is_an_unusable_flag(command):
    code, hosts, said = command("--hosts=3/3")
    assert (code, hosts) == (2, []) and "--hosts=3/3 is no place among hosts" in said and "--help" in said
