# Users of an image: each command must be whole, as OE-Core's reads it.
python () {
    import shlex
    commands = [command.split() for command in (d.getVar("EXTRA_USERS_PARAMS") or "").split(";") if command.strip()]
    for command in commands:
        words = shlex.split(" ".join(command))
        if words[0] not in ("groupadd", "useradd", "usermod", "groupmems") or any(w in words for w in ("useradd", "groupadd") if w != words[0]):
            bb.fatal("%s: EXTRA_USERS_PARAMS has the command %s" % (d.getVar("PN"), command))
        values = {"--gid", "--uid", "--home-dir", "--shell", "--comment", "--password"}
        names = [w for i, w in enumerate(words[1:], 1) if not w.startswith("--") and words[i - 1] not in values]
        if len(names) != 1:
            bb.fatal("%s: EXTRA_USERS_PARAMS: %s names nobody, or several" % (d.getVar("PN"), " ".join(words)))
}
