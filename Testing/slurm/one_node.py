"""A Slurm of one node with two slots on this computer, for as long as a ``with`` block lasts.

Debian's packages suffice (``apt-get install slurmctld slurmd slurm-client munge``); their services need not
run. All daemons are started here, in a folder of their own and on ports of the loopback address, and ended.
They need root or the user that runs them everywhere; no cgroup, accounting or network is used.

    python Testing/slurm/one_node.py -- sinfo        # one command in such a cluster
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo")
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
_CONFIGURATION = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SlurmdParameters=config_overrides
MailProg=/bin/true
ReturnToService=2
KillWait=2
MinJobAge=3600
RebootProgram=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs of Slurm that this computer lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]


class Cluster:
    """Commands in the cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "PATH": _PATH, "SLURM_CONF": str(folder / "slurm.conf")}

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> str:
        """What a command says; an error if it fails."""
        ended = subprocess.run(
            command, env={**self.env, **(env or {})}, capture_output=True, text=True, timeout=60
        )
        if ended.returncode:
            raise RuntimeError(f"{' '.join(command)}: {ended.stdout}{ended.stderr}")
        return ended.stdout.strip()

    def wait(self, what: str, *command: str, seconds: float = 600) -> str:
        """Repeat a command until it says ``what`` (empty: nothing); what it then says."""
        end = time.monotonic() + seconds
        while True:
            with suppress(RuntimeError, subprocess.TimeoutExpired):
                text = self.run(*command)
                if (what in text) if what else not text:
                    return text
            if time.monotonic() > end:
                raise TimeoutError(f"{' '.join(command)} never said {what!r}: {self.logs()}")
            time.sleep(0.5)

    def logs(self) -> str:
        """The ends of the daemons' logs."""
        return "\\n".join(path.read_text(errors="replace")[-1500:] for path in self.folder.glob("*.log"))


@contextmanager
def one_node() -> Iterator[Cluster]:
    """Start a cluster, and end it."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)  # munge's socket lies in it
    cluster, daemons = Cluster(folder), []
    try:
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        host = socket.gethostname().split(".")[0]
        text = _CONFIGURATION.format(host=host, ports=_ports(2), user=getpass.getuser(), folder=folder)
        (folder / "slurm.conf").write_text(text)
        munge = [f"--{kind}={folder}/munge.{end}" for kind, end in _MUNGE.items()]
        daemons.append(_start(cluster, "munged", "--foreground", "--force", *munge))
        _wait_for(folder / "munge.socket")
        daemons.append(_start(cluster, "slurmctld", "-D", "-i"))
        daemons.append(_start(cluster, "slurmd", "-D"))
        cluster.wait("idle", "sinfo", "--noheader", "--format=%T", seconds=60)
        yield cluster
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(20)
            daemon.kill()
            daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


_MUNGE = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}


def _start(cluster: Cluster, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    program = shutil.which(name, path=_PATH)
    assert program is not None
    log = (cluster.folder / f"{name}.out.log").open("wb")
    return subprocess.Popen([program, *arguments], env=cluster.env, stdout=log, stderr=log)


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{path} did not appear")
        time.sleep(0.1)


def _ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def main(command: Sequence[str]) -> int:
    with one_node() as cluster:
        return subprocess.run([part for part in command if part != "--"], env=cluster.env).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
