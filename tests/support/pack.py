# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""The records of a pack, read as include/sluice/pack.h describes it, by a program that is not sluice."""

import struct
import uuid

END, NAMESPACE = (1 << 64) - 1, uuid.UUID("b6650381-4a9f-4f7a-a942-9d2f0fdb04c2")


class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        assert self.at + n <= len(self.data)
        self.at += n
        return self.data[self.at - n:self.at]

    def varint(self):
        value = shift = 0
        while True:
            byte, = self.take(1)
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value


def position(pos):
    return f"{pos[0]:016x}{pos[1]:016x}"


def record(data, pos, relation, shared):
    """(position, relation, value, headers) of the next one."""
    what = data.take(1)[0]
    assert what < 0x40
    major, minor = data.varint(), END if what & 0x20 else data.varint()
    place = ((pos[0] + major) & END, minor if major or what & 0x20 else (pos[1] + minor) & END)
    headers = {"sluice.position": position(place), "sluice.prev": position(pos), **shared}
    headers["sluice.id"] = str(uuid.uuid5(uuid.uuid5(NAMESPACE, shared["sluice.source"]), position(place)))
    if what & 1:
        headers["sluice.flags"] = f"{data.take(1)[0]:x}"
    if what & 4:
        relation, = struct.unpack("<Q", data.take(8))
    if what & 2:
        headers["sluice.relation"] = f"{relation:016x}"
    if what & 8:
        headers["sluice.resume"] = data.take(data.varint()).hex()
    if what & 16:
        headers["sluice.options"] = data.take(data.varint())[:-1].decode()
    value = data.take(data.varint())
    headers["sluice.op"] = chr(value[2])
    return place, relation, value, headers


def unpacked(messages):
    """The same messages, with a pack's records in its place, as if each had come in a message of its own."""
    for offset, key, value, headers in messages:
        if headers.get("sluice.op") != "P":
            yield offset, key, value, headers
            continue
        assert value[:2] == b"\xd6\x01" and key is None
        data, relation = Bytes(value[2:-4]), 0
        pos = tuple(int(headers["sluice.prev"][i:i + 16], 16) for i in (0, 16))
        shared = {name: headers[name] for name in ("sluice.reign", "sluice.source")}
        while data.at < len(data.data):
            pos, relation, one, its = record(data, pos, relation, shared)
            yield offset, None, one, its
        assert position(pos) == headers["sluice.position"]
