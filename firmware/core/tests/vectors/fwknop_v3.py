#!/usr/bin/env python3
"""Makes packets of the stock fwknop client, with what is in them, for fwknop_v3.txt.

    apt install fwknop-client
    python3 fwknop_v3.py

Every packet is made by the client itself, in its test mode (-T): nothing is sent. What it says it has
encoded is taken down beside the packet. Salts, random numbers and the time are new with every run, so the
file is not made again but added to.
"""

import base64
import subprocess
import sys
import tempfile

ENCRYPTION = "wzNP62oPPgEc+kXDPQLHPOayQBuNbYUTPP+QrErNDmg="
MAC = "Yh+xizBnl6FotC5ec7FanVGClRMlsOAPh2u6eovnerfBVKwaVKzjGoblFMHMc593TNyi0dWn4opLoTIV9q/ttg=="
LONGEST = base64.b64encode(bytes(range(128))).decode()
ACCESS = ["-A", "tcp/22", "-a", "10.0.0.1"]

# Name, arguments, encryption key, HMAC key (both base64, or a passphrase behind "text:"), HMAC, mode.
CASES = [
    ("HMAC-SHA384 and digest SHA384", ACCESS + ["-m", "sha384"], ENCRYPTION, MAC, "sha384", "cbc"),
    ("HMAC-SHA512 and digest SHA256", ACCESS, ENCRYPTION, MAC, "sha512", "cbc"),
    ("longest keys", ACCESS, base64.b64encode(bytes(range(32))).decode(), LONGEST, "sha256", "cbc"),
    ("longest keys, HMAC-SHA512", ACCESS, base64.b64encode(bytes(range(32))).decode(), LONGEST, "sha512", "cbc"),
    ("longest passphrase", ACCESS, "text:" + "thirty-two octets of passphrase!", "text:" + "x" * 128, "sha256", "cbc"),
    ("digest SHA1", ACCESS + ["-m", "sha1"], ENCRYPTION, MAC, "sha256", "cbc"),
    ("digest MD5", ACCESS + ["-m", "md5"], ENCRYPTION, MAC, "sha256", "cbc"),
    ("digest SHA3-256", ACCESS + ["-m", "sha3_256"], ENCRYPTION, MAC, "sha256", "cbc"),
    ("HMAC-SHA1", ACCESS, ENCRYPTION, MAC, "sha1", "cbc"),
    ("HMAC-SHA3-256", ACCESS, ENCRYPTION, MAC, "sha3_256", "cbc"),
    ("CFB mode", ACCESS, ENCRYPTION, MAC, "sha256", "cfb"),
    ("OFB mode", ACCESS, ENCRYPTION, MAC, "sha256", "ofb"),
    ("as seen, with a time-out", ["-A", "tcp/22,udp/1194", "-s", "-f", "3600"], ENCRYPTION, MAC, "sha256", "cbc"),
    ("longest time-out", ACCESS + ["-f", "65535"], ENCRYPTION, MAC, "sha256", "cbc"),
    ("eight ports", ["-A", ",".join(f"tcp/{port}" for port in range(60000, 60008)), "-a", "203.0.113.255"],
     ENCRYPTION, MAC, "sha256", "cbc"),
    ("nine ports", ["-A", ",".join(f"tcp/{port}" for port in range(60000, 60009)), "-a", "203.0.113.255"],
     ENCRYPTION, MAC, "sha512", "cbc"),
    ("NAT with a time-out (type 4)", ACCESS + ["-N", "192.168.10.5:10022", "-f", "900"], ENCRYPTION, MAC, "sha256", "cbc"),
    ("local NAT (type 5)", ACCESS + ["--nat-local", "--nat-port", "10022"], ENCRYPTION, MAC, "sha256", "cbc"),
    ("local NAT with a time-out (type 6)", ACCESS + ["--nat-local", "--nat-port", "10022", "-f", "60"],
     ENCRYPTION, MAC, "sha256", "cbc"),
    ("command with commas", ["-C", "/bin/echo a,b,c", "-a", "10.0.0.1"], ENCRYPTION, MAC, "sha256", "cbc"),
]


def secret(word, option):
    """The option of the client, and the octets."""
    if word.startswith("text:"):
        return [f"--key-{option}", word[5:]], word[5:].encode()
    return [f"--key-base64-{option}", word], base64.b64decode(word)


def make(arguments, encryption, mac, digest, mode):
    """The packet, and what the client says is in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/packet"
        command = ["fwknop", "--no-rc-file", "--no-save-args", "-T", "-v", "-D", "127.0.0.1", "-U", "alice"]
        command += arguments + ["-M", mode, "-B", path]
        command += secret(encryption, "rijndael")[0]
        command += secret(mac, "hmac")[0] + ["--use-hmac", "--hmac-digest-type", digest]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = {line.split(":", 1)[0].strip(): line.split(":", 1)[1].strip()
                 for line in said.splitlines() if ":" in line}
        text = found["Encoded Data"] + ":" + found["SPA Data Digest"]
        with open(path) as packet:
            return packet.read().strip(), text


def main():
    for name, arguments, encryption, mac, digest, mode in CASES:
        packet, text = make(arguments, encryption, mac, digest, mode)
        print()
        print("name", name)
        print("arguments", " ".join(arguments))
        print("key", secret(encryption, "rijndael")[1].hex())
        print("mac-key", secret(mac, "hmac")[1].hex())
        print("mac", digest)
        print("mode", mode)
        print("packet", packet)
        print("text", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
