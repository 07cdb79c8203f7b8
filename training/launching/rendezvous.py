"""The server over which Horovod's Gloo ranks exchange their addresses; it lives as long as rank 0's command."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from training.errors import LaunchError
from training.launching.place import Slot


@contextlib.contextmanager
def serve(plan: Sequence[Slot], *, address: str, port: int) -> Iterator[None]:
    """Serve the plan at `address`:`port` inside the block; LaunchError when the port is taken."""
    from horovod.runner.common.util.hosts import SlotInfo
    from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

    try:
        server = RendezvousHTTPServer((address, port), RendezvousHandler, 0)
    except OSError as error:
        raise LaunchError(
            f"rank 0 cannot listen at {address}:{port}: {error.strerror}; choose another --port"
        ) from error
    server.init(
        [SlotInfo(s.host, s.rank, s.local_rank, s.cross_rank, len(plan), s.local_size, s.cross_size) for s in plan]
    )
    thread = threading.Thread(target=server.serve_forever, name="rendezvous", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
