"""Headers of record streams with a right checksum, for streams that no stint of today writes (doc/image-format.md)."""

import struct

MAGIC = bytes.fromhex("93 53 54 49 4e 54 0d 0a")
SECRET = struct.unpack("<4Q", bytes.fromhex("72 40 a4 a4 b7 b3 67 1f cb 79 e6 4e cc c0 e5 78 82 5a d0 7d cc ff 72 21 b8 08 46 74 f7 43 24 8e"))
MASK = (1 << 64) - 1


def hash64(data):
    """XXH3, 64 bits, for the one length that a header's checksum is made of."""
    assert len(data) == 16
    first, last = struct.unpack("<2Q", data)
    first ^= SECRET[0] ^ SECRET[1]
    last ^= SECRET[2] ^ SECRET[3]
    product = first * last
    folded = (product & MASK) ^ (product >> 64)
    swapped = int.from_bytes(first.to_bytes(8, "little"), "big")
    value = (len(data) + swapped + last + folded) & MASK
    value ^= value >> 37
    value = value * 0x165667919E3779F9 & MASK
    return value ^ value >> 32


def with_header(stream, version, machine):
    head = MAGIC + struct.pack("<HHI", version, machine, 0)
    return head + struct.pack("<Q", hash64(head)) + stream[24:]
