"""python -m benchmarks.arms.rank RANK SIZE MASTER PORT -- COMMAND...: one Horovod rank a machine, without Slurm.

With the trainer's own parts: its variables for Horovod over Gloo, its rendezvous on rank 0.
"""

from __future__ import annotations

import os
import sys

from training.launch import spawn, supervise
from training.launching import environment
from training.launching.network import interface_of, local_address_towards, wait_for_port
from training.launching.place import Place
from training.launching.rendezvous import serve

_PATIENCE = 60.0


def main() -> int:
    """Becomes the command; rank 0 stays as its parent."""
    rank, size, master, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    command = sys.argv[sys.argv.index("--") + 1 :]
    place = Place(rank=rank, local_rank=0, node=rank, tasks_per_node=(1,) * size, master=master)
    interface = interface_of(local_address_towards(master, port=port, timeout=_PATIENCE))
    full = {**os.environ, **environment.horovod(place, port=port, interface=interface)}
    if rank:
        wait_for_port(master, port=port, timeout=_PATIENCE)
        os.execvpe(command[0], command, full)
    with serve(place.plan(), address=master, port=port):
        return supervise([spawn(command, full)])


if __name__ == "__main__":
    sys.exit(main())
