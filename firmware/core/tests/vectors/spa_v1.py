#!/usr/bin/env python3
"""Makes spa_v1.txt and rotating_v1.txt: native SPA packets and rotating knocks by an implementation that
shares no line with Postern's.

    pip install pynacl cryptography
    python3 spa_v1.py packets > spa_v1.txt
    python3 spa_v1.py knocks > rotating_v1.txt

It follows SPA.md. XChaCha20-Poly1305 is libsodium's, HKDF and HMAC are OpenSSL's, SipHash stands
below and is held against the value its authors publish. Everything is derived from fixed text, so that the
output is the same every time; `python3 spa_v1.py packets --check spa_v1.txt` says whether it is.
"""

import hashlib
import ipaddress
import struct
import sys

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt as xopen,
    crypto_aead_xchacha20poly1305_ietf_encrypt as xseal,
)

MASK = (1 << 64) - 1


def siphash24(key, message):
    def rotate(value, by):
        return (value << by | value >> (64 - by)) & MASK

    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rounds(count):
        for _ in range(count):
            v[0] = (v[0] + v[1]) & MASK
            v[1] = rotate(v[1], 13) ^ v[0]
            v[0] = rotate(v[0], 32)
            v[2] = (v[2] + v[3]) & MASK
            v[3] = rotate(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & MASK
            v[3] = rotate(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & MASK
            v[1] = rotate(v[1], 17) ^ v[2]
            v[2] = rotate(v[2], 32)

    padded = message + bytes(7 - len(message) % 8) + bytes([len(message) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return struct.pack("<Q", v[0] ^ v[1] ^ v[2] ^ v[3])


def derive(key, label, device):
    return HKDFExpand(hashes.SHA256(), 32, b"postern-spa-1 " + label + device).derive(key)


def hmac_sha256(key, message):
    mac = hmac.HMAC(key, hashes.SHA256())
    mac.update(message)
    return mac.finalize()


def encode(action, one_shot, lease, counter, door, sources):
    octets = struct.pack(">BBBBIQ", action, one_shot, len(sources), 0, lease, counter)
    octets += door.encode().ljust(32, b"\0")
    for source in sources:
        address = ipaddress.ip_address(source)
        octets += (b"\0" * 10 + b"\xff\xff" if address.version == 4 else b"") + address.packed
    return octets.ljust(80, b"\0")


def seal(key, device, plain, random):
    nonce = hmac_sha256(derive(key, b"nonce", device), random + plain)[:24]
    hint = siphash24(derive(key, b"hint", device)[:16], nonce)
    box = xseal(plain, hint, nonce, derive(key, b"seal", device))
    return hint + nonce + box


def unseal(key, device, packet):
    hint, nonce, box = packet[:8], packet[8:32], packet[32:]
    assert hint == siphash24(derive(key, b"hint", device)[:16], nonce)
    return xopen(box, hint, nonce, derive(key, b"seal", device))


CASES = [
    # name, action, one-shot, lease, counter, door, sources
    ("plainest", 1, 0, 0, 1, "ssh", []),
    ("clock", 1, 0, 900, 1795602600000, "pump-station.17_service", []),
    ("claims-v4", 1, 0, 30, 1795602601000, "ssh", ["198.51.100.7"]),
    ("claims-v6", 1, 1, 30, 1795602602000, "ssh", ["2001:db8:17::7"]),
    ("claims-both", 1, 1, 4294967295, (3 << 48) | 1795602603000, "a" * 32, ["203.0.113.9", "2001:db8::1"]),
    ("closes", 2, 0, 0, (1 << 64) - 1, "ssh", []),
]


def knocks(key, door, counter, count, protocols, first, last, excluded):
    ranges = [(name, 64, 1087) if name == "icmp" else (name, first, last) for name in ("tcp", "udp", "icmp") if name in protocols]
    total = sum(high - low + 1 for _, low, high in ranges)
    found = []
    for block in range(32):
        octets = hmac_sha256(key, door.encode().ljust(32, b"\0") + struct.pack(">QI", counter, block))
        for draw in struct.unpack(">8I", octets):
            position = draw * total >> 32
            for name, low, high in ranges:
                if position <= high - low:
                    break
                position -= high - low + 1
            knock = f"{name}/{low + position}"
            if knock not in found and knock not in excluded:
                found.append(knock)
            if len(found) == count:
                return found
    raise ValueError("too few knocks")


ROTATING = [
    # name, door, counter, knocks, protocols, first, last, excluded
    ("plain", "ssh", 0, 4, "tcp", 20000, 60000, []),
    ("mixed", "pump-station.17_service", 77, 8, "tcp udp icmp", 1024, 65535, []),
    ("narrow", "ssh", 1 << 40, 5, "tcp", 30000, 30005, ["tcp/30003"]),
    ("pings", "ssh", (1 << 64) - 1, 3, "icmp", 1, 1, []),
]


def rotating_vectors():
    yield "# Rotating sequences, format 1. Made by spa_v1.py."
    for name, door, counter, count, protocols, first, last, excluded in ROTATING:
        key, device = (hashlib.sha256(f"rotating {name} {what}".encode()).digest() for what in ("key", "device"))
        device = device[:16]
        rotation = derive(key, b"rotation", device)
        yield ""
        yield f"name {name}"
        yield f"key {key.hex()}"
        yield f"device {device.hex()}"
        yield f"rotation-key {rotation.hex()}"
        yield f"door {door}"
        yield f"counter {counter}"
        yield f"count {count}"
        yield f"protocols {protocols}"
        yield f"first {first}"
        yield f"last {last}"
        yield f"excluded {' '.join(excluded)}"
        yield f"knocks {' '.join(knocks(rotation, door, counter, count, protocols.split(), first, last, excluded))}"


def packet_vectors():
    yield "# Native SPA, format 1. Made by spa_v1.py; hexadecimal."
    for name, *fields in CASES:
        key, device, random = (hashlib.sha256(f"{name} {what}".encode()).digest() for what in ("key", "device", "random"))
        device, random = device[:16], random[:24]
        plain = encode(*fields)
        packet = seal(key, device, plain, random)
        assert len(packet) == 128 and unseal(key, device, packet) == plain
        yield ""
        yield f"name {name}"
        for what, octets in [
            ("key", key),
            ("device", device),
            ("tag", derive(key, b"journal", device)[:8]),
            ("hint-key", derive(key, b"hint", device)[:16]),
            ("seal-key", derive(key, b"seal", device)),
            ("nonce-key", derive(key, b"nonce", device)),
            ("random", random),
            ("request", plain),
            ("packet", packet),
        ]:
            yield f"{what} {octets.hex()}"


# "SipHash: a fast short-input PRF", appendix A.
assert siphash24(bytes(range(16)), bytes(range(15))) == struct.pack("<Q", 0xA129CA6149BE45E5)

made = {"packets": packet_vectors, "knocks": rotating_vectors}.get(sys.argv[1] if len(sys.argv) > 1 else "")
if made is None:
    sys.exit("say which: packets or knocks")
text = "\n".join(made()) + "\n"
if sys.argv[2:3] == ["--check"]:
    sys.exit(0 if open(sys.argv[3]).read() == text else "the file is not what this script makes")
sys.stdout.write(text)
