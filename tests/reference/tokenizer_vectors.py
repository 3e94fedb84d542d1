#!/usr/bin/env python3
"""Writes tests/data/tokenizer_vectors.json: token ids that Hugging Face's `tokenizers` gives to many strings, for the
bundled model's tokenizer and for small ones that exercise other options. Needs: pip install tokenizers."""

import json
import os

from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
DEMO = os.path.join(HERE, "..", "..", "models", "demo", "tokenizer.json")
OUT = os.path.join(HERE, "..", "data", "tokenizer_vectors.json")

TEXTS = [
    "", " ", "  ", "\n", "\r\n", "\t", "a", "Hello, world!", "The quick brown fox jumps over the lazy dog.",
    "line one\r\nline two\r\n\r\n  indented\n\ttabbed \n \n", "trailing space ", "   leading", "a  b   c    d",
    " " * 100, "x" + " " * 300 + "y", "\n" * 50, " \n \n\n  x", "\u00a0\u2003\u3000x\u0085y\u2028z", "\u180ex \u180e",
    "don't I'll we're you've I'm he'd it's", "DON'T I'LL WE'RE YOU'VE I'M HE'D IT'S", "'\u017f '\u017fx 's 'S '\u212a",
    "x's'll're", "1 12 123 1234567890", "3.14159 1,000,000 50%", "\u00b2\u00b3\u00bd\u2167 \u0664\u0665\u0666 \uff11\uff12",
    "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m", "cafe\u0301 nai\u0308ve A\u030angstro\u0308m", "\u212b \u2126 \u1e9b\u0323 \ufb01",
    "q\u0323\u0307 q\u0307\u0323 a\u0300\u0301\u0302", "\u0301 alone", "\u1100\u1161\u11a8 \uac01 \uac00\u11a8", "\u0958 \u0915\u093c",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3002\u6f22\u5b57\u3068\u304b\u306a", "\u4e2d\u6587\uff0c\u6807\u70b9\u3002", "\ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8",
    "\u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u0442\u0435\u043a\u0441\u0442", "\u05e2\u05d1\u05e8\u05d9\u05ea \u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u202eRTL\u202c",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22 \u10d0\u10d1\u10d2 \u13a0\u13a1 \u1681\u1682", "\U00010330\U00010331 \U00012000 \U0001d54f",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f44d\U0001f3fd",
    "zero\u200bwidth\u200cjoin\u200der\ufeff", "\u0378 \U000e0080 \U0010ffff \uffff", "\x00\x01\x7f", "a\x00b",
    "<|endoftext|>", "a<|endoftext|>b", " <|im_start|> user\n<|im_end|>\n", "<|im_start|>system\nBe brief.<|im_end|>\n",
    "<|im_start|", "<|im_start|><|im_start|>", "<<|im_end|>>", "<|IM_END|>", "e\u0301<|im_end|>\u0301e",
    "def f(x):\n    return x ** 2  # square\n", "{\"key\": [1, 2.5, null], \"s\": \"\\\"\"}", "https://example.org/a?b=c&d=%20e#f",
    "snake_case camelCase PascalCase SCREAMING_CASE kebab-case", "...!!!???---===+++", "a" * 100, "ab" * 60, "\u00e9" * 30,
    "e=mc^2; \u2211\u222b\u221a \u2260 \u2264", "\u201cquoted\u201d \u2018single\u2019 \u2014 dash\u2026", "\u2019s \u2019ll", "tab\tseparated\tvalues",
]

# A byte-level vocabulary of every byte and a few merges; each variant overrides parts of it.
BYTES = [chr(b) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174 else None for b in range(256)]
SPARE = iter(range(256, 512))
ALPHABET = [c if c else chr(next(SPARE)) for c in BYTES]
MERGES = [["\u0120", "t"], ["h", "e"], ["\u0120t", "he"], ["a", "b"], ["ab", "ab"], ["b", "a"], ["l", "l"], ["1", "2"], ["12", "3"],
          ["\u0120", "\u0120"], ["\u0120\u0120", "\u0120\u0120"], ["\u00c3", "\u00a9"], ["o", "r"], ["w", "or"], ["wor", "d"]]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
VARIANT_TEXTS = [
    "", "the ababab the", "abababab babab", "12345 123 1 12", "don't", "\u00e9t\u00e9", "e\u0301", "a    b", "x the\n\nthe", "\u00bd\u0664\u0665 5\u00b2",
    "wordy word word's", "word", "a word", "sword <mask> x", "<mask>", "a  <mask>  b", "a <end>  b", "<end> <end>", "<m> <mas",
    "\u00e9word", "word\u0301", "_word word_", "lr", "x  lr  y", "caf\u00e9", "cafe\u0301", "the caf\u00e9 lr the", "hello", "ll he ll", "<m><mask><m", "r\u00e9 re\u0301",
]


def byte_level(add_prefix_space=False, use_regex=True):
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def added(identifier, content, special=False, normalized=False, single_word=False, lstrip=False, rstrip=False):
    return {"id": identifier, "content": content, "special": special, "normalized": normalized,
            "single_word": single_word, "lstrip": lstrip, "rstrip": rstrip}


def byte_level_variant(pre_tokenizer, normalizer=None, added_tokens=(), **model):
    tokens = ALPHABET + [a + b for a, b in MERGES] + ["hello"]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": list(added_tokens),
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": None,
            "decoder": byte_level(),
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": {token: i for i, token in enumerate(tokens)}, "merges": MERGES, **model}}


def llama2_variant(fuse):
    tokens = (["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + list("\u2581thewordab\u00e9") +
              ["he", "\u2581t", "\u2581the", "ab", "abab", "\u2581\u2581", "wo", "wor", "word"])
    merges = [["h", "e"], ["\u2581", "t"], ["\u2581t", "he"], ["a", "b"], ["ab", "ab"], ["\u2581", "\u2581"], ["w", "o"],
              ["wo", "r"], ["wor", "d"]]
    if fuse is not None:  # without byte tokens, so that the unknown one is used
        tokens = [token for token in tokens if not token.startswith("<0x")]
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [added(0, "<unk>", True), added(1, "<s>", True), added(2, "</s>", True)],
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
            "pre_tokenizer": None, "post_processor": None,
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
                {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": bool(fuse), "byte_fallback": fuse is None,
                      "ignore_merges": False, "vocab": {token: i for i, token in enumerate(tokens)},
                      "merges": [" ".join(merge) for merge in merges]}}


def variants():
    nfc = {"type": "NFC"}
    many = [added(272, "<mask>", True, lstrip=True), added(273, "<end>", True, rstrip=True), added(274, "<m"),
            added(275, "lr", normalized=True, lstrip=True, rstrip=True), added(276, "caf\u00e9", normalized=True),
            added(270, "word", single_word=True), added(277, "re\u0301", normalized=True)]
    yield "gpt2", byte_level_variant(byte_level())
    yield "gpt2 with prefix space", byte_level_variant(byte_level(add_prefix_space=True))
    yield "no regex with prefix space", byte_level_variant(byte_level(True, False), merges=[" ".join(m) for m in MERGES])
    yield "split, then prefix space", byte_level_variant(sequence(split("b"), byte_level(True)))
    yield "smollm", byte_level_variant(sequence({"type": "Digits", "individual_digits": True}, byte_level()))
    yield "digit runs", byte_level_variant(sequence({"type": "Digits", "individual_digits": False}, byte_level()))
    yield "llama3", byte_level_variant(sequence(split(LLAMA3), byte_level(False, False)), ignore_merges=True)
    yield "added", byte_level_variant(byte_level(), {"type": "Sequence", "normalizers": [nfc]}, many)
    yield "added, no normalizer", byte_level_variant(byte_level(True), None, many)
    for behavior in ("Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext"):
        yield behavior, byte_level_variant(sequence(split(r"[e1]|\s", behavior), byte_level(False, False)))
        yield behavior + ", inverted", byte_level_variant(sequence(split("b", behavior, True, "String"), byte_level(True, False)))
    yield "llama2", llama2_variant(None)
    yield "llama2, unknown", llama2_variant(False)
    yield "llama2, unknown fused", llama2_variant(True)


def vectors(tokenizer, texts):
    return [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in texts]


def main():
    data = {"demo": vectors(Tokenizer.from_file(DEMO), TEXTS), "variants": []}
    for name, spec in variants():
        tokenizer = Tokenizer.from_str(json.dumps(spec))
        data["variants"].append({"name": name, "tokenizer": spec, "vectors": vectors(tokenizer, VARIANT_TEXTS)})
        for vector in data["variants"][-1]["vectors"]:
            # Added tokens go through tokenizers' byte decoder too, which breaks those outside ASCII; Assay writes
            # them as they are.
            decoded = tokenizer.decode(vector["ids"], skip_special_tokens=True)
            if "\ufffd" not in decoded:
                vector["decoded"] = decoded
    # The variants share their vocabularies, which are most of their bytes.
    shared = []
    for variant in data["variants"]:
        vocabulary = variant["tokenizer"]["model"].pop("vocab")
        if vocabulary not in shared:
            shared.append(vocabulary)
        variant["vocabulary"] = shared.index(vocabulary)
    data["vocabularies"] = shared
    with open(OUT, "w", encoding="utf-8") as file:
        json.dump(data, file, separators=(",", ":"))
        file.write("\n")
    print(f"{len(data['demo'])} texts, {len(data['variants'])} variants, {os.path.getsize(OUT)} bytes")


if __name__ == "__main__":
    main()
