"""A name server that knows a few names: `resolver.py ADDRESS MODE NAME=IP...`; several addresses of a name are all given.

The file MODE holds how it fails: `servfail` (it answers SERVFAIL), `servfail NAME` (only for that name), a number (the
share of queries that it ignores), or nothing.

It answers over UDP for A and AAAA, with NXDOMAIN for what it does not know, and nothing else. While it is stopped
(SIGSTOP) it is a name server that does not answer.
"""

import ipaddress
import random
import socket
import struct
import sys


def question(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii").lower())
        at += 1 + query[at]
    return ".".join(labels), struct.unpack("!H", query[at + 1 : at + 3])[0], query[12 : at + 5]


def failure(mode, name):
    """The response code of a failure: None to ignore the query, 0 for none."""
    with open(mode, encoding="ascii") as file:
        words = file.read().split()
    if not words:
        return 0
    if words[0] == "servfail":
        return 2 if words[1:] in ([], [name]) else 0
    return None if random.random() < float(words[0]) else 0


def answer(query, names, mode):
    name, kind, asked = question(query)
    failed = failure(mode, name)
    if failed is None:
        return None
    if failed:
        return query[:2] + struct.pack("!HHHHH", 0x8180 | failed, 1, 0, 0, 0) + asked
    family = {1: 4, 28: 6}.get(kind)
    found = [a for a in names.get(name, []) if a.version == family]
    code = 0 if name in names else 3
    head = query[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(found), 0, 0)
    records = (struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(a.packed)) + a.packed for a in found)
    return head + asked + b"".join(records)


def main():
    names = {}
    for pair in sys.argv[3:]:
        name, address = pair.split("=")
        names.setdefault(name, []).append(ipaddress.ip_address(address))
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((sys.argv[1], 53))
    while True:
        query, client = server.recvfrom(512)
        try:
            reply = answer(query, names, sys.argv[2])
            if reply is not None:
                server.sendto(reply, client)
        except (IndexError, UnicodeDecodeError, struct.error):
            continue  # Not a question.


main()
