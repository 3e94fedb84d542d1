#!/usr/bin/env python3
"""Asks Coq what each theorem states and assumes, refuses what is not allowed, and writes ../docs/proofs.json.

Every Theorem and Corollary counts and must have its line in ../docs/proofs.md; a Lemma is a step on the way.
A statement is only as good as the words in it, so the witness also holds the definitions that it rests on.
The date is that of the last change: when nothing else differs the file is left alone, and a rerun leaves the
tree clean.
"""

import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE / "build"
WITNESS = HERE.parent / "docs" / "proofs.json"
PAGE = HERE.parent / "docs" / "proofs.md"
COQC = os.environ.get("COQC", "coqc")

# What Coq's own library of real numbers stands on; nothing else.
ALLOWED = {
    "ClassicalDedekindReals.sig_forall_dec",
    "ClassicalDedekindReals.sig_not_dec",
    "FunctionalExtensionality.functional_extensionality_dep",
}

COMMENT = re.compile(r"\(\*.*?\*\)", re.S)
THEOREM = re.compile(r"^(?:Theorem|Corollary) (\w+)", re.M)
DEFINITION = re.compile(r"^(?:Definition|Fixpoint|Record) (\w+).*?\.$", re.M | re.S)
OPENING = re.compile(r"^(?:From|Import|Open Scope) .*\.$", re.M)
REQUIRED = re.compile(r"^From Assay Require Import ([\w ]+)\.$", re.M)


def refuse(message):
    sys.exit(f"proofs: {message}")


def one_line(text):
    return " ".join(text.split())


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def ask(module, source):
    """Coq's answers to Check and to Print Assumptions for the theorems of one file, by theorem."""
    # With the file's own imports, or Check prints every name in full.
    questions = [*source.opening, f"From Assay Require Import {module}."]
    questions += ["Set Printing Width 110.", "Set Printing Depth 10000."]
    for theorem in source.theorems:
        questions += [f'Redirect "{theorem}.check" Check {theorem}.',
                      f'Redirect "{theorem}.assumptions" Print Assumptions {theorem}.']
    (BUILD / "query.v").write_text("\n".join(questions) + "\n")
    command = [COQC, "-noglob", "-Q", ".", "Assay", "query.v"]
    done = subprocess.run(command, cwd=BUILD, capture_output=True, text=True)
    if done.returncode != 0:
        refuse(f"Coq could not answer for {module}: {done.stderr.strip()}")
    return {theorem: [(BUILD / f"{theorem}.{answer}.out").read_text() for answer in ("check", "assumptions")]
            for theorem in source.theorems}


def read_statement(theorem, printed):
    name, _, statement = printed.partition(":")
    if name.strip() != theorem:
        refuse(f"Check {theorem} answered for {name.strip()}")
    return one_line(statement)


def read_assumptions(theorem, printed):
    if printed.strip() == "Closed under the global context":
        return []
    heading, *lines = printed.splitlines()
    if heading != "Axioms:":
        refuse(f"Print Assumptions {theorem} answered {heading!r}, expected 'Axioms:'")
    return sorted(line.split()[0] for line in lines if line and not line[0].isspace())


class Source:
    """One file: its theorems, its definitions, and the files that it stands on."""

    def __init__(self, path):
        text = COMMENT.sub("", path.read_text())
        self.file = f"proofs/{path.name}"
        self.opening = OPENING.findall(text)
        self.theorems = THEOREM.findall(text)
        self.definitions = {found[1]: one_line(found[0]) for found in DEFINITION.finditer(text)}
        self.required = " ".join(REQUIRED.findall(text)).split()


def words(text):
    # The notation \sum_(k < n) stands for the function sum.
    return set(re.findall(r"[A-Za-z]\w*", text.replace("\\sum_", " sum ")))


def definitions_under(text, known):
    """Names of the definitions that a text uses, and that those use in turn."""
    found, waiting = set(), [text]
    while waiting:
        used = words(waiting.pop())
        for name, body in known.items():
            fields = re.findall(r"[{;]\s*(\w+)\s*:", body) if body.startswith("Record") else []
            if name not in found and used & {name, *fields}:
                found.add(name)
                waiting.append(body)
    return sorted(found)


def stack(module, sources):
    """The module after everything that it stands on."""
    below = [name for required in sources[module].required for name in stack(required, sources)]
    return list(dict.fromkeys([*below, module]))


def gather():
    sources = {path.stem: Source(path) for path in sorted(HERE.glob("*.v"))}
    theorems, definitions = [], {}
    for module, source in sources.items():
        visible = {}
        for standing_on in stack(module, sources):
            for name, body in sources[standing_on].definitions.items():
                visible[name] = (sources[standing_on].file, body)
        for theorem, (checked, assumed) in ask(module, source).items():
            print(f"{module}.{theorem}\n  " + assumed.strip().replace("\n", "\n  "))
            statement = read_statement(theorem, checked)
            assumptions = read_assumptions(theorem, assumed)
            strangers = sorted(set(assumptions) - ALLOWED)
            if strangers:
                refuse(f"{module}.{theorem} assumes {', '.join(strangers)}, which is not among the allowed "
                       f"{', '.join(sorted(ALLOWED))}")
            rests_on = definitions_under(statement, {name: body for name, (_, body) in visible.items()})
            for name in rests_on:
                file, body = visible[name]
                definitions[name] = {"file": file, "text": body, "sha256": sha256(body)}
            theorems.append({
                "theorem": theorem,
                "file": source.file,
                "statement": statement,
                "statement_sha256": sha256(statement),
                "rests_on": rests_on,
                "assumptions": assumptions,
            })
    return {"theorems": theorems, "definitions": dict(sorted(definitions.items()))}


def require_page(theorems):
    page = PAGE.read_text()
    for theorem in theorems:
        if f"`{theorem['theorem']}`" not in page:
            refuse(f"docs/{PAGE.name} says nothing of {theorem['theorem']}; give it a line")


def today():
    zone = datetime.timezone.utc
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.datetime.fromtimestamp(int(epoch), zone) if epoch else datetime.datetime.now(zone)
    return moment.date().isoformat()


def main():
    asked = subprocess.run([COQC, "--print-version"], capture_output=True, text=True, check=True)
    version = asked.stdout.split()[0]
    witness = {"coq": version, "date": today(), **gather()}
    require_page(witness["theorems"])
    if WITNESS.exists():
        before = json.loads(WITNESS.read_text())
        if before == {**witness, "date": before.get("date")}:
            print(f"{len(witness['theorems'])} theorems, as witnessed on {before['date']}")
            return
    WITNESS.write_text(json.dumps(witness, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(witness['theorems'])} theorems; wrote docs/{WITNESS.name}")


main()
