"""What the benches in Python share: running the program, and the reference models and texts beside the checkout."""
import argparse
import json
import lzma
import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SMOLLM2 = os.path.join(ROOT, "fetched/SmolLM2-135M-Instruct.Q4_1.gguf")  # scripts/smollm2.sh fetches it


def parser(description, out):
    """With the options that every bench has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", default=os.path.join(ROOT, "out", out), help="folder for models and JSON")
    made.add_argument("--assay", default=os.path.join(ROOT, "build/assay"))
    made.add_argument("--shared", default=os.path.join(ROOT, "../shared"))
    return made


def prepare(options):
    """Fails early where something is missing; unpacks the calibration text and returns its path."""
    packed = os.path.join(options.shared, "text/train.txt.xz")
    for needed in (options.assay, test_text(options), packed):
        if not os.path.exists(needed):
            sys.exit(f"{needed} is missing")
    os.makedirs(options.out, exist_ok=True)
    path = os.path.join(options.out, "train.txt")
    if not os.path.exists(path):
        with lzma.open(packed) as source, open(path + ".part", "wb") as target:
            shutil.copyfileobj(source, target)
        os.rename(path + ".part", path)
    return path


def test_text(options):
    return os.path.join(options.shared, "text/wiki.test.raw")


def shared_model(options, name):
    path = SMOLLM2 if name == "smollm2" else os.path.join(options.shared, "models", name)
    if not os.path.exists(path):
        sys.exit(f"{path} is missing")
    return path


def fresh(folder):
    """The folder's path, with nothing there."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def run(command):
    """Standard output."""
    return measured_run(command)[0]


def measured_run(command):
    """Standard output, seconds and peak resident bytes."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return output, time.monotonic() - start, usage.ru_maxrss * 1024


def limited_run(command, limit):
    """As measured_run, in a fresh control group of at most `limit` bytes, page cache included, and the peak of those:
    standard output, seconds, peak resident bytes, peak of the group. Needs root."""
    name = f"assay-bench-{os.getpid()}"
    if os.path.isdir("/sys/fs/cgroup/memory"):  # version 1
        folder, bound, peak = f"/sys/fs/cgroup/memory/{name}", "memory.limit_in_bytes", "memory.max_usage_in_bytes"
    else:
        folder, bound, peak = f"/sys/fs/cgroup/{name}", "memory.max", "memory.peak"
    os.mkdir(folder)
    try:
        with open(os.path.join(folder, bound), "w") as file:
            file.write(str(limit))

        def enter():
            with open(os.path.join(folder, "cgroup.procs"), "w") as procs:
                procs.write(str(os.getpid()))

        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=enter)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"failed under {limit} bytes: {' '.join(command)}")
        with open(os.path.join(folder, peak)) as file:
            return output, time.monotonic() - start, usage.ru_maxrss * 1024, int(file.read())
    finally:
        os.rmdir(folder)


def forget(files):
    """Drops the files' pages from the page cache: those in it are charged to no group's limit."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def python_with(folder, packages):
    """The Python of a virtual environment with these packages, made unless it is there."""
    python = os.path.join(folder, "bin/python")
    ready = os.path.join(folder, "-".join(sorted(packages)) + ".ready")
    if not os.path.exists(ready):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        open(ready, "w").close()
    return python


def recipe(path, format):
    """A recipe file: every matrix that fits in this format; in f32 everything."""
    what = {"names": ["*"]} if format == "f32" else {"roles": ["linear", "ends"], "otherwise": "source"}
    with open(path, "w") as file:
        json.dump({"name": format, "rules": [{"format": format, **what}]}, file)
    return path
