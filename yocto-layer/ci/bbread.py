#!/usr/bin/env python3
"""Reads layers with real BitBake, from its package on PyPI: parses every recipe, works out task graphs, runs tasks.

    bbread.py JOB.json ANSWER.json

The package (bitbake-setup) holds all of BitBake but the programs in bin/ and two servers, so one cooker runs inside this
process, with stand-ins for the servers. The base layer is stub-core, beside this file: variables and classes that our
recipes use, nothing of OpenEmbedded-Core. `cargo xtask yocto-check` writes the jobs and judges the answers.

JOB: build (folder), layers (list, the base layer first), settings (lines of local.conf), graphs (targets),
     tasks (list of [recipe, task]), variables ({recipe or "": [names]})
ANSWER: parsed, skipped ({file: reason}), errors, warnings (lists of texts), graphs ({target: {recipes, tasks}}),
     tasks ({"recipe:task": seconds}), variables ({recipe or "": {name: value}}), seconds
"""
import json
import logging
import os
import sys
import time
import types


def stand_ins():
    """Modules that BitBake imports and the package lacks: the hash server and the PR server."""

    def none(*_arguments, **_keywords):
        raise RuntimeError("there is no server here")

    hashserv = types.ModuleType("hashserv")
    hashserv.is_valid_unihash = lambda text: len(text) >= 8
    hashserv.create_client = hashserv.create_server = none
    hashserv.client = types.ModuleType("hashserv.client")
    prserv = types.ModuleType("prserv")
    prserv.serv = types.ModuleType("prserv.serv")
    prserv.serv.PRServiceConfigError = type("PRServiceConfigError", (Exception,), {})
    prserv.serv.auto_start = lambda data: None
    prserv.serv.auto_shutdown = lambda: None
    modules = {
        "hashserv": hashserv,
        "hashserv.client": hashserv.client,
        "prserv": prserv,
        "prserv.serv": prserv.serv,
    }
    sys.modules.update(modules)


stand_ins()
import bb  # noqa: E402
import bb.build  # noqa: E402
import bb.cooker  # noqa: E402
import bb.cookerdata  # noqa: E402
import bb.event  # noqa: E402
import bb.fetch2  # noqa: E402
import bb.msg  # noqa: E402
import bb.runqueue  # noqa: E402
import bb.server.process  # noqa: E402
import bb.taskdata  # noqa: E402


class Listener(logging.Handler):
    """Keeps what BitBake complains of, in a file: recipes are read by processes of their own."""

    def __init__(self, path):
        super().__init__(logging.WARNING)
        self.path = path
        with open(path, "w"):
            pass

    def emit(self, record):
        text = record.getMessage()
        if record.exc_info and record.exc_info[0]:
            text += ": %s: %s" % (record.exc_info[0].__name__, record.exc_info[1])
        kind = "errors" if record.levelno >= logging.ERROR else "warnings"
        with open(self.path, "a") as file:
            file.write(json.dumps([kind, text]) + "\n")

    def heard(self, kind):
        """Everything of a kind, each once."""
        with open(self.path) as file:
            said = [json.loads(line) for line in file]
        return list(dict.fromkeys(text for one, text in said if one == kind))


def write_configuration(job):
    """The two files of a build folder."""
    conf = os.path.join(job["build"], "conf")
    os.makedirs(conf, exist_ok=True)
    with open(os.path.join(conf, "bblayers.conf"), "w") as file:
        file.write('BBPATH = "${TOPDIR}"\nBBFILES ?= ""\nBBLAYERS = "%s"\n' % " ".join(job["layers"]))
    with open(os.path.join(conf, "local.conf"), "w") as file:
        file.write("".join("%s\n" % line for line in job["settings"]))


def start_cooker():
    """A cooker in this process, with its configuration read."""
    bb.server.process.serverlog = lambda message: None
    cooker = bb.cooker.BBCooker([], None)
    names = ("PATH", "HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "TERM")
    cooker.configuration.env = {name: os.environ[name] for name in names if name in os.environ}
    cooker.configuration.env.update({"BBPATH": os.getcwd(), "LANG": "C.UTF-8"})
    for name in ("prefile", "postfile", "profile"):
        setattr(cooker.configuration, name, [])
    cooker.init_configdata()
    return cooker


def parse(cooker, answer):
    """Reads every recipe of every layer."""
    while cooker.updateCache():
        pass
    cooker.parser.final_cleanup()
    answer["parsed"] = cooker.parser.parsed + cooker.parser.cached
    if cooker.parser.error:
        answer["errors"].append("%d recipes cannot be read" % cooker.parser.error)
    for skipped in cooker.skiplist_by_mc.values():
        answer["skipped"].update({file: entry.skipreason for file, entry in skipped.items()})


def recipe_data(cooker, name):
    """All variables of a recipe."""
    files = [file for file, package in cooker.recipecaches[""].pkg_fn.items() if package == name]
    if not files:
        raise KeyError("there is no recipe %s" % name)
    appends = cooker.collections[""].get_file_appends(files[0])
    return cooker.databuilder.parseRecipe(files[0], appends, "layer")


def run_task(cooker, name, task):
    """Runs one task of a recipe, without those before it."""
    data = recipe_data(cooker, name)
    data.setVar("BB_RUNTASK", task)
    data.setVar("BB_TASK_LOGGER", "")
    # As BitBake's runner does.
    data.setVar("OVERRIDES", "task-%s:%s" % (task[3:].replace("_", "-"), data.getVar("OVERRIDES", False)))
    data.delVarFlag(task, "noexec")
    bb.utils.mkdirhier(data.getVar("T"))
    try:
        bb.build.exec_func(task, data)
        for function in (data.getVarFlag(task, "postfuncs") or "").split():
            bb.build.exec_func(function, data)
    except Exception as error:
        raise RuntimeError("%s of %s: %s" % (task, name, error)) from error


def carry_out(job, answer):
    """Everything the job asks for."""
    cooker = start_cooker()
    parse(cooker, answer)
    for target in job.get("graphs", []):
        tree = cooker.generateTaskDepTreeData([target], "build")
        answer["graphs"][target] = {"recipes": sorted(tree["pn"]), "tasks": len(tree["tdepends"])}
    for name, variables in job.get("variables", {}).items():
        data = recipe_data(cooker, name) if name else cooker.data
        answer["variables"][name] = {variable: data.getVar(variable) for variable in variables}
    for name, task in job.get("tasks", []):
        begun = time.monotonic()
        run_task(cooker, name, task)
        answer["tasks"]["%s:%s" % (name, task)] = round(time.monotonic() - begun, 1)


def main():
    job_path, answer_path = (os.path.abspath(path) for path in sys.argv[1:3])
    with open(job_path) as file:
        job = json.load(file)
    answer = {"parsed": 0, "skipped": {}, "graphs": {}, "tasks": {}, "variables": {}}
    answer["errors"] = []
    os.makedirs(job["build"], exist_ok=True)
    listener = Listener(os.path.join(job["build"], "complaints"))
    log = logging.getLogger("BitBake")
    log.setLevel(logging.INFO)
    log.addHandler(listener)
    write_configuration(job)
    os.chdir(job["build"])
    begun = time.monotonic()
    try:
        carry_out(job, answer)
    except (Exception, SystemExit) as error:
        answer["errors"].append("%s: %s" % (type(error).__name__, error))
    answer["errors"] = listener.heard("errors") + answer["errors"]
    answer["warnings"] = listener.heard("warnings")
    answer["seconds"] = round(time.monotonic() - begun, 1)
    with open(answer_path, "w") as file:
        json.dump(answer, file, indent=1)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of the cooker may still be there.
    os._exit(1 if answer["errors"] or answer["warnings"] else 0)


if __name__ == "__main__":
    main()
