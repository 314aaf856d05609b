#!/usr/bin/env python3
"""Starts posternd as its unit would: with the unit's bounding set and no new privileges, with a manager that wants to be told, in
a network without any interface, on a blank config partition with the factory profile. Needs root and a network namespace.

    unshare --net under_unit.py UNIT POSTERND FACTORY

Ends with 0 when the daemon says that it is ready and alive, keeps only capabilities of the unit, and has made its gate.
"""
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile


def setting(unit, name):
    """The values of a setting."""
    return [line.split("=", 1)[1] for line in unit.splitlines() if line.startswith(name + "=")]


def main():
    unit_path, posternd, factory = sys.argv[1:4]
    with open(unit_path) as file:
        unit = file.read()
    bound = " ".join(setting(unit, "CapabilityBoundingSet")).lower().replace("cap_", "").split()
    with tempfile.TemporaryDirectory() as folder:
        run(posternd, factory, folder, ",".join(["-all"] + ["+" + name for name in bound]), bound)


def run(posternd, factory, folder, capabilities, bound):
    """Starts the daemon and listens to it."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(os.path.join(folder, "notify"))
    manager.settimeout(120)
    config, control = os.path.join(folder, "config"), os.path.join(folder, "control")
    with open(config, "wb") as file:
        file.truncate(1024 * 1024)
    # setpriv(1) does what the manager does with CapabilityBoundingSet= and NoNewPrivileges=.
    command = ["setpriv", "--no-new-privs", "--bounding-set", capabilities, "--inh-caps", capabilities, posternd]
    command += ["--store", config, "--control", control, "--factory", factory, "--log", "stderr", "--allow-reboot"]
    environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": os.path.join(folder, "notify"), "WATCHDOG_USEC": "10000000"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as daemon:
        try:
            told = [manager.recv(128).decode() for _ in range(3)]
            status = open("/proc/%d/status" % daemon.pid).read()
            rules = subprocess.run(["iptables", "-S", "INPUT"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.SubprocessError) as error:
            daemon.kill()
            sys.exit("the daemon tells its manager nothing: %s\n%s" % (error, daemon.stderr.read()))
        daemon.send_signal(signal.SIGTERM)
        said = daemon.stderr.read()
    judge(told, status, rules, said, daemon.returncode, bound)


# Numbers of include/uapi/linux/capability.h.
NUMBERS = {"chown": 0, "setgid": 6, "setuid": 7, "setpcap": 8, "net_admin": 12, "net_raw": 13, "sys_boot": 22}


def judge(told, status, rules, said, code, bound):
    """Says what is wrong."""
    kept = int(re.search(r"CapPrm:\s*(\S+)", status).group(1), 16)
    allowed = sum(1 << NUMBERS[name] for name in bound)
    wanted = sum(1 << NUMBERS[name] for name in ("net_admin", "net_raw", "sys_boot"))
    for wrong, what in (
        (told[:2] != ["READY=1", "WATCHDOG=1"], "it told its manager %s" % told),
        (kept & ~allowed, "it has more than its unit allows: %x" % kept),
        (kept != wanted, "it keeps %x, not %x" % (kept, wanted)),
        ("-j POSTERN" not in rules, "it has made no gate: %s" % rules),
        (code != 0, "it ended with %s" % code),
    ):
        if wrong:
            sys.exit("%s\n%s" % (what, said))
    print("ready without an interface, keeps %016x of %016x" % (kept, allowed))


if __name__ == "__main__":
    main()
