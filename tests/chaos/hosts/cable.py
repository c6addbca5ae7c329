"""A cable on which each frame takes its time: python -m tests.chaos.hosts.cable END END SECONDS.

With one interface and no more, that is only told not to leave anything to a cable.

What `tc netem` does, which many kernels come without. It carries whole frames between two interfaces, so the
hosts' own TCP makes of them what it makes of a long line, beginning with its first greeting.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import selectors
import signal
import socket
import struct
import sys
import time
from collections import deque

ANY_PROTOCOL = 0x0003
LARGEST_FRAME = 65_536
# Interfaces leave sums and cutting to the hardware of a real one, which this cable has not.
SIOCETHTOOL, SWITCHES = 0x8946, {"sums": 0x17, "segments": 0x1F, "generic segments": 0x24}


def main() -> None:
    # The keyboard's is for who laid the cable.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    first, *more = sys.argv[1:]
    if not more:
        without_offloads(first)
    else:
        second, seconds = more
        ends = [end_of(first), end_of(second)]
        print("laid", flush=True)
        carry(ends, float(seconds))


def without_offloads(interface: str) -> None:
    """Have the sender sum up and cut to size whatever leaves through an interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in SWITCHES.values():
            off = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(off))
            fcntl.ioctl(any_socket, SIOCETHTOOL, request)


def end_of(interface: str) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ANY_PROTOCOL))
    end.bind((interface, ANY_PROTOCOL))
    end.setblocking(False)
    return end


def carry(ends: list[socket.socket], seconds: float) -> None:
    """Carry frames both ways, each this much later than it came, until whoever started this is gone."""
    under_way: deque[tuple[float, socket.socket, bytes]] = deque()
    others = {ends[0]: ends[1], ends[1]: ends[0]}
    with selectors.DefaultSelector() as selector:
        for file in (*ends, sys.stdin):
            selector.register(file, selectors.EVENT_READ)
        while True:
            wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
            for key, _ in selector.select(wait):
                if not isinstance(end := key.fileobj, socket.socket):
                    return
                frame, (*_, direction, _, _) = end.recvfrom(LARGEST_FRAME)
                if direction != socket.PACKET_OUTGOING:
                    under_way.append((time.monotonic() + seconds, others[end], frame))
            while under_way and under_way[0][0] <= time.monotonic():
                _, end, frame = under_way.popleft()
                # Full, or gone: a cable may lose a frame.
                with contextlib.suppress(OSError):
                    end.send(frame)


if __name__ == "__main__":
    main()
