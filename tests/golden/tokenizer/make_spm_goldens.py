"""Makes tests/golden/tokenizer/spm/NAME/: small tokenizer.model files that the `sentencepiece` library
trained, and ids.bin with texts and the ids that it gives them.

    python make_spm_goldens.py

ids.bin as make_json_goldens.py writes it. "prefix" puts a space in front of a text, "plain" does not.
Made with sentencepiece 0.2.3."""

import os
import pathlib
import struct
import sys
import tempfile

import sentencepiece

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from texts import Texts

HERE = pathlib.Path(__file__).parent / "spm"
ROOT = HERE.parent.parent.parent.parent


def main():
    lines = (ROOT / "LICENSE").read_text().splitlines()
    lines += (HERE.parent.parent / "model" / "texts" / "chinese.txt").read_text().splitlines()
    for name, prefix in (("prefix", True), ("plain", False)):
        folder = HERE / name
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as work:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter([line for line in lines if line.strip()]),
                model_prefix=work + "/m", model_type="bpe", vocab_size=700, byte_fallback=True,
                normalization_rule_name="identity", remove_extra_whitespaces=False,
                add_dummy_prefix=prefix, character_coverage=0.98, num_threads=1,
                minloglevel=2)
            model = pathlib.Path(work + "/m.model").read_bytes()
        (folder / "tokenizer.model").write_bytes(model)
        library = sentencepiece.SentencePieceProcessor(model_proto=model)
        words = [library.id_to_piece(i).replace("\u2581", " ") for i in range(260, 700)]
        maker = Texts(5, words, ["<s>", "</s>"])
        texts = [maker.next()[:120] for _ in range(120)] + ["", " ", "a", "  a ", "\u2581a"]
        out = b""
        for text in texts:
            ids = library.encode(text)
            out += struct.pack("<I", len(text.encode())) + text.encode()
            out += struct.pack(f"<I{len(ids)}I", len(ids), *ids)
        (folder / "ids.bin").write_bytes(out)
        print(name, library.get_piece_size(), len(model), len(texts), len(out))


main()
