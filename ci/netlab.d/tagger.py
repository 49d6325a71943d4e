"""An access port: frames with these VLAN tags on a link are, without them, a kernel's on a tap device.

Usage: tagger.py LINK TAP PRIORITY TAG...       TAG: 0x8100:5, the outermost first

Not every kernel knows VLANs, so what one would do with tags is done by this program, and everything above them
(ARP, neighbour discovery, echo, UDP, TCP) by the kernel. It writes a line for each frame with a priority of its own.
"""
import contextlib
import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000
SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING = 263, 8, 4
VLAN_VALID, TPID_VALID = 1 << 4, 1 << 6


def tap(name):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TAP | IFF_NO_PI))
    return fd


def link(name):
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    wire.bind((name, 3))
    return wire


def whole(wire):
    """A frame as it was on the wire: the kernel takes the outer tag out and tells it apart. None: one that we sent."""
    frame, said, _, source = wire.recvmsg(65535, 256)
    if source[2] == PACKET_OUTGOING:
        return None
    for level, kind, data in said:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
            if status & VLAN_VALID:
                frame = frame[:12] + struct.pack(">HH", tpid if status & TPID_VALID else 0x8100, tci) + frame[12:]
    return frame


def main():
    name, tap_name, priority, *tags = sys.argv[1:]
    tags = [tuple(int(part, 0) for part in tag.split(":")) for tag in tags]
    priority = int(priority)
    kernel, wire = tap(tap_name), link(name)
    print("ready", flush=True)
    seen = set()
    while True:
        for ready in select.select([kernel, wire], [], [])[0]:
            if ready == kernel:
                frame = os.read(kernel, 65535)
                added = b"".join(struct.pack(">HH", kind, priority << 13 | number) for kind, number in tags)
                wire.send(frame[:12] + added + frame[12:])
                continue
            frame = whole(wire)
            if not frame:
                continue
            at, marks = 12, []
            for kind, number in tags:
                tpid, tci = struct.unpack_from(">HH", frame, at)
                if (tpid, tci & 0xFFF) != (kind, number):
                    break
                marks.append(tci >> 13)
                at += 4
            else:
                if struct.unpack_from(">H", frame, at)[0] not in (0x8100, 0x88A8):
                    # A host that is down has none.
                    with contextlib.suppress(OSError):
                        os.write(kernel, frame[:12] + frame[at:])
                    if tuple(marks) not in seen:
                        seen.add(tuple(marks))
                        print("priorities", *marks, flush=True)


main()
