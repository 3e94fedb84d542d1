#!/usr/bin/env python3
"""Trains two tiny sentencepiece models, tests/data/sentencepiece_{bpe,unigram}.model, and writes what PyPI's
sentencepiece makes of some strings to tests/data/sentencepiece_vectors.json. Needs: pip install sentencepiece."""

import io
import json
import os
import tempfile

import sentencepiece

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "data")
SENTENCES = """The cat sat on the mat and the dog sat on the log.
A weight format says what the bytes are; the numerics say how to choose them well.
She sells sea shells by the sea shore, and the shells she sells are sea shells.
The quick brown fox jumps over the lazy dog, then the dog chases the fox.
Numbers such as 1, 12, 123 and 1234 are cut into pieces like words are.
When the rain falls on the plain the plants in the rain grain gain again.""".split("\n")
TEXTS = ["", " ", "a", "the cat", " the  cat ", "The mat.\nThe log.\r\n\tEnd", "shells", "caf\u00e9 \u00c5 \ufb01ne", "\uff21\uff22\uff23 \u2460",
         "\u65e5\u672c \U0001f600", "12345", "<sep>the<sep> cat", "a<sep>", "x\u0000y", "\u2581the", "the" * 20, "zzz", "sea shore sea",
         "  leading", "trailing  ", "\u00a0nbsp\u3000wide", "A\u030a e\u0301"]
# Character rules: source code points, tab, replacement (hexadecimal).
RULES = ["41\t61", "C5\t61 30A", "FB01\t66 69", "FF21\t41", "FF22\t42", "FF23\t43", "2460\t31", "65 301\tE9", "3000\t20", "A0\t20"]


def train(kind, **options):
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        rules.write("\n".join(RULES) + "\n")
        rules.flush()
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES * 4), model_writer=model, model_type=kind, user_defined_symbols=["<sep>"],
            control_symbols=["<ctl>"], normalization_rule_tsv=rules.name, hard_vocab_limit=False, minloglevel=2,
            **options)
    return model.getvalue()


def main():
    models = {
        "bpe": train("bpe", vocab_size=360, byte_fallback=True),
        "unigram": train("unigram", vocab_size=90, byte_fallback=False, remove_extra_whitespaces=False, add_dummy_prefix=False),
    }
    data = {}
    for name, model in models.items():
        with open(os.path.join(DATA, f"sentencepiece_{name}.model"), "wb") as file:
            file.write(model)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        data[name] = [{"text": text, "ids": processor.encode(text)} for text in TEXTS]
        print(name, len(model), "bytes,", processor.vocab_size(), "pieces")
    with open(os.path.join(DATA, "sentencepiece_vectors.json"), "w", encoding="utf-8") as file:
        json.dump(data, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
