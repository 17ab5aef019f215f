"""The script that starts servers, asks them and stops them, with stand-ins for the programs that it calls."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parents[1] / "configs" / "servers" / "infer.sh"
# Each keeps what it was called with in $SEEN. A server answers once its file is there, and goes on until it is stopped.
PROGRAMS = {
    "vllm": """
        [[ ${SLURMD_NODENAME:-localhost}:$CUDA_VISIBLE_DEVICES != "${DIES:-}" ]] || { echo "out of memory"; exit 1; }
        echo "$*" > "$SEEN/vllm-${SLURMD_NODENAME:-localhost}-$CUDA_VISIBLE_DEVICES"
        echo $$ >> "$SEEN/pids"
        exec sleep 300
    """,
    "curl": """
        url=${*: -1}; echo "$url" >> "$SEEN/curl"; [[ -z ${DEAF:-} ]] || exit 7
        host=${url#http://}; port=${host#*:}; port=${port%/health}
        [[ -e "$SEEN/vllm-${host%%:*}-$((port - PORT))" ]]
    """,
    "sclvlm": """
        printf '%s\\n' "$@" > "$SEEN/sclvlm"
        echo $$ >> "$SEEN/pids"
        [[ -z ${LONG:-} ]] || exec sleep 300
        exit "${CODE:-0}"
    """,
    "scontrol": """
        [[ "$*" == "show hostnames node[1-2]" ]] && printf 'node1\\nnode2\\n'
    """,
    "srun": """
        trap 'kill $(jobs -p)' TERM
        for word in "$@"; do case $word in
          --nodelist=*) export SLURMD_NODENAME=${word#*=} ;;
          --ntasks=*) tasks=${word#*=} ;;
        esac; done
        while [[ $1 == --* ]]; do shift; done
        for ((task = 0; task < tasks; task++)); do SLURM_LOCALID=$task "$@" & done
        wait -n
        kill $(jobs -p) 2> /dev/null; wait
    """,
}
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(name="seen")
def seen_folder(tmp_path: Path) -> Path:
    """What the programs were called with."""
    (tmp_path / "seen").mkdir()
    return tmp_path / "seen"


@pytest.fixture(name="start")
def starter(tmp_path: Path, seen: Path) -> Start:
    """Starts the script with words and variables."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f"#!/usr/bin/env bash\n{text}")
        (programs / name).chmod(0o755)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    known = {**plain, "PATH": f"{programs}:{os.environ['PATH']}", "SEEN": str(seen), "PORT": "8100", "GPUS": "2"}

    def start(*words: str, **variables: str) -> subprocess.Popen[str]:
        command = ["bash", str(SCRIPT), *words]
        return subprocess.Popen(command, cwd=tmp_path, env=known | variables, stderr=subprocess.PIPE, text=True)

    return start


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How the script ended, and what it said of that."""
    told = process.communicate(timeout=60)[1]
    return process.returncode, told


def left(seen: Path) -> list[int]:
    """The programs that still run."""
    pids = map(int, (seen / "pids").read_text().split()) if (seen / "pids").exists() else []
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def test_each_gpu_gets_a_server_with_a_port_of_its_own(start: Start, seen: Path) -> None:
    assert ended(start("org/model", "run.yaml", "--", "--max-model-len", "4096"))[0] == 0
    for gpu in range(2):
        told = (seen / f"vllm-localhost-{gpu}").read_text()
        assert told == f"serve org/model --max-model-len 4096 --port {8100 + gpu} --generation-config vllm\n"


def test_the_addresses_are_handed_over_with_further_settings_behind(start: Start, seen: Path) -> None:
    assert ended(start("m", "run.yaml", "infer.limit=5", "run.dir=a b", "--", "--quiet"))[0] == 0
    assert (seen / "sclvlm").read_text().splitlines() == [
        "infer",
        "run.yaml",
        "infer.engine=server",
        "infer.server.urls=[http://localhost:8100/v1,http://localhost:8101/v1]",
        "infer.server.concurrency=128",
        "infer.limit=5",
        "run.dir=a b",
    ]


@pytest.mark.parametrize("code", [0, 3])
def test_servers_are_stopped_when_asking_ends_and_its_exit_code_is_handed_on(
    code: int, start: Start, seen: Path
) -> None:
    assert ended(start("m", "run.yaml", CODE=str(code)))[0] == code
    assert len((seen / "pids").read_text().split()) == 3  # two servers, one that asks
    assert left(seen) == []


def test_a_server_that_ends_before_it_answers_ends_all(start: Start, seen: Path, tmp_path: Path) -> None:
    code, told = ended(start("m", "run.yaml", DIES="localhost:1", PATIENCE="20"))
    assert (code, "error: a server has ended before all of them answered" in told) == (1, True)
    assert (tmp_path / "server-localhost-8101.log").read_text() == "out of memory\n"
    assert not (seen / "sclvlm").exists()
    assert left(seen) == []


def test_servers_that_do_not_answer_in_time_are_stopped(start: Start, seen: Path) -> None:
    code, told = ended(start("m", "run.yaml", DEAF="yes", PATIENCE="1"))
    assert (code, "http://localhost:8100 does not answer after 1 seconds" in told) == (1, True)
    assert left(seen) == []


def test_a_script_that_is_stopped_stops_what_it_started(start: Start, seen: Path) -> None:
    process, deadline = start("m", "run.yaml", LONG="yes"), time.monotonic() + 30
    while len(left(seen)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 143
    assert left(seen) == []


def test_nodes_of_a_cluster_are_asked_together(start: Start, seen: Path) -> None:
    assert ended(start("m", "run.yaml", SLURM_JOB_NODELIST="node[1-2]"))[0] == 0
    urls = ",".join(f"http://node{node}:{port}/v1" for node in (1, 2) for port in (8100, 8101))
    assert f"infer.server.urls=[{urls}]\n" in (seen / "sclvlm").read_text()
    assert len((seen / "pids").read_text().split()) == 5
    assert left(seen) == []


def test_a_server_of_a_node_that_ends_before_it_answers_ends_all(start: Start, seen: Path, tmp_path: Path) -> None:
    code, told = ended(start("m", "run.yaml", SLURM_JOB_NODELIST="node[1-2]", DIES="node2:0", PATIENCE="20"))
    assert (code, "a server has ended" in told) == (1, True)
    assert (tmp_path / "server-node2-8100.log").read_text() == "out of memory\n"
    assert left(seen) == []


def test_a_config_must_be_named(start: Start, seen: Path) -> None:
    code, told = ended(start("m"))
    assert (code, told) == (
        2,
        "error: usage: infer.sh MODEL CONFIG [section.key=value ...] [-- option of vllm serve ...]\n",
    )
    assert list(seen.iterdir()) == []
