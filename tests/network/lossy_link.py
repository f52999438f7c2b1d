"""A second cable that loses packets: `lossy_link.py NETNS_PID FILE HERE THERE`.

It makes a tunnel interface `lossy` here with the address HERE and one in the network of the process NETNS_PID with the
address THERE, and carries packets between them. In each direction it loses the share that FILE holds. The draws have a
fixed seed. Where the routes lead is up to the caller. It prints a line when both are up, and ends with its own end.
"""

import fcntl
import os
import random
import select
import struct
import subprocess
import sys

TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000


def tunnel(address):
    """A tunnel interface in the network of this process."""
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", b"lossy", IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "address", "add", address + "/32", "dev", "lossy"], check=True)
    subprocess.run(["ip", "link", "set", "lossy", "up"], check=True)
    return fd


def enter_network(pid):
    import ctypes

    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(network, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def read(share):
    with open(share, encoding="ascii") as file:
        return float(file.read() or 0)


def main():
    pid, share, here, there = sys.argv[1:]
    near = tunnel(here)
    enter_network(pid)
    far = tunnel(there)
    print("up", flush=True)
    draws = random.Random(6)
    while True:
        for fd in select.select([near, far], [], [])[0]:
            packet = os.read(fd, 65536)
            if draws.random() >= read(share):
                os.write(far if fd == near else near, packet)


if __name__ == "__main__":
    main()
