#!/usr/bin/env python3
"""Writes the fuzz seeds of the tokenizer room, fuzz/seeds/{tokenizer_json,sentencepiece,chat_template}/, from the data
that the other scripts of this folder wrote: run it after them."""

import json
import os
import shutil

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "data")
SEEDS = os.path.join(HERE, "..", "..", "fuzz", "seeds")


def write(folder, name, content):
    path = os.path.join(SEEDS, folder)
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, name), "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())


def files(kind, *parts):
    return kind.encode() + b"\0".join(part.encode() if isinstance(part, str) else part for part in parts)


def tokenizer_seeds():
    """Vocabularies are cut to a few dozen tokens, so that a mutation has a chance to hit something that matters."""
    letters = list("abcdehortwl123?'<>s\u00c3\u00a9\u0120\u010a")
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True, "legacy": False,
              "additional_special_tokens": ["he"], "extra_special_tokens": {"x": "ab"}, "add_prefix_space": True,
              "added_tokens_decoder": {"90": {"content": "[X]", "special": True}},
              "chat_template": [{"name": "default", "template": "{{ messages }}"}]}
    with open(os.path.join(DATA, "tokenizer_vectors.json"), encoding="utf-8") as file:
        data = json.load(file)
    for index, variant in enumerate(data["variants"]):
        spec = variant["tokenizer"]
        vocabulary = data["vocabularies"][variant["vocabulary"]]
        merges = [m.split(" ") if isinstance(m, str) else m for m in spec["model"]["merges"]]
        wanted = set(letters) | {token for merge in merges for token in (*merge, "".join(merge))}
        wanted |= {token for token in vocabulary if token in ("<unk>", "<s>", "</s>", "<0xFF>", "<0xC3>", "\u2581", " ")}
        wanted |= {character for token in wanted for character in token if character in vocabulary}
        tokens = [token for token in vocabulary if token in wanted]
        ids = {token: i for i, token in enumerate(tokens)}
        spec["model"]["vocab"] = ids
        spec["model"]["unk_token"] = spec["model"]["unk_token"] or "?"
        known = [t for t in spec["added_tokens"] if t["content"] not in ids]
        for i, token in enumerate(spec["added_tokens"]):
            token["id"] = ids.get(token["content"], len(ids) + 8 + i)
        named = {"bos_token": "<s>"} if "<s>" in ids or any(t["content"] == "<s>" for t in known) else {}
        write("tokenizer_json", f"variant{index:02}", files("J", json.dumps(spec), json.dumps(named), "", "", "the ababab"))
        if index == 0:
            small = json.loads(json.dumps(spec))
            small["added_tokens"] = [{"id": 80, "content": "<s>", "special": True}, {"id": 81, "content": "</s>"}]
            small["post_processor"] = {"type": "Sequence", "processors": [{"type": "ByteLevel"}, {
                "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
                "special_tokens": {"<s>": {"ids": [80]}}}]}
            write("tokenizer_json", "config", files("J", json.dumps(small), json.dumps(config), "{{ bos_token }}", "", "he"))
            lines = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges)
            for name in ("GPT2Tokenizer", "Qwen2Tokenizer"):
                write("tokenizer_json", name, files(
                    "P", json.dumps(ids), json.dumps({"tokenizer_class": name, "eos_token": "<s>"}), lines,
                    json.dumps({"<s>": 80}), "e\u0301 the"))
            # What the readers refuse: each way out is worth a seed.
            for number, (path, value) in enumerate([
                    ("normalizer", {"type": "Lowercase"}), ("pre_tokenizer", {"type": "Metaspace"}), ("pre_tokenizer", None),
                    ("decoder", {"type": "Fuse"}), ("post_processor", {"type": "BertProcessing"}), ("model", None)]):
                broken = json.loads(json.dumps(small))
                broken[path] = value
                write("tokenizer_json", f"refused{number}", files("J", json.dumps(broken), "", "", "", ""))
            patterns = [r"(?i:'s|a)|\p{L}+|[^\s\d]+?|\x41|\x{42}|\n|(?=b)c|\S{2,}", r"^a", r"\w", r"[a[b]]", r"(?m)a", r"a{1}+",
                        r"\p", r"\v", "(?i:\u00e9)", r"[a", r"\x9", r"(a", "a*", "[]a]", "a&&", "a{b}", "\\"]
            for number, pattern in enumerate(patterns):
                broken = json.loads(json.dumps(small))
                broken["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"},
                    {"type": "ByteLevel", "use_regex": False}]}
                write("tokenizer_json", f"pattern{number:02}", files("J", json.dumps(broken), "", "", "", "'S aA9"))


def sentencepiece_seeds():
    for name in ("bpe", "unigram"):
        with open(os.path.join(DATA, f"sentencepiece_{name}.model"), "rb") as file:
            model = file.read()
        write("sentencepiece", name, model)
        write("sentencepiece", f"{name}_cut", model[:len(model) // 2])
    piece = b"\x0a\x05<unk>\x18\x02"
    for name, tail in {"tiny": b"", "word_model": b"\x12\x02\x18\x03", "suffix": b"\x12\x03\xc0\x01\x01",
                       "unescaped": b"\x1a\x02\x28\x00", "map": b"\x1a\x07\x12\x05abcde", "group": b"\x0b",
                       "bad_type": b"\x0a\x05\x0a\x01b\x18\x09", "nan": b"\x0a\x08\x0a\x01b\x15\xff\xff\xff\x7f",
                       "eight_bytes": b"\x31abcdefgh"}.items():
        write("sentencepiece", name, b"\x0a" + bytes([len(piece)]) + piece + tail)


def template_seeds():
    with open(os.path.join(DATA, "chat_templates.json"), encoding="utf-8") as file:
        data = json.load(file)
    for name, template in data["templates"].items():
        write("chat_template", name.replace(" ", "_"), template)
    # Each chunk of expressions in one template; a refusal ends it, so those get seeds of their own.
    good = [case["expression"] for case in data["cases"] if "expression" in case and "expected" in case]
    bad = [case["expression"] for case in data["cases"] if "expression" in case and "refused" in case]
    for start in range(0, len(good), 20):
        write("chat_template", f"expressions{start:03}", "".join("{{ " + e + " }}\n" for e in good[start:start + 20]))
    for number, expression in enumerate(bad):
        write("chat_template", f"refused{number:02}", "{{ " + expression + " }}")
    write("chat_template", "dates", "{{ strftime_now('%d %m %y %Y %b %B %%') }}{{ 1.5 - 0.5 * 2.0 / 4 }}{{ -1.5 }}")
    write("chat_template", "cases", "{{ 'a b'|capitalize }}{{ 'A'.title() }}{{ {'a': {'b': [1.5, true]}} | tojson(2) }}")


def main():
    for folder in ("tokenizer_json", "sentencepiece", "chat_template"):
        shutil.rmtree(os.path.join(SEEDS, folder), ignore_errors=True)
    tokenizer_seeds()
    sentencepiece_seeds()
    template_seeds()
    for folder in ("tokenizer_json", "sentencepiece", "chat_template"):
        names = os.listdir(os.path.join(SEEDS, folder))
        print(folder, len(names), "seeds,", sum(os.path.getsize(os.path.join(SEEDS, folder, n)) for n in names), "bytes")


if __name__ == "__main__":
    main()
