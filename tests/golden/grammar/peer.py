"""llguidance on the same schemas and tokens, as compare.py's yardstick: how many schemas it takes,
and what its masks cost on the very texts that ours were measured on, in the same run.

Its vocabulary is the one that grammar_cli has. A text is followed as far as llguidance takes it
(its white space and numbers differ from ours here and there); only masks that both sides computed
are compared. Times are CPU time of this thread; the mask goes to a buffer made before."""
import ctypes
import time

import llguidance


class Tokens:
    """What llguidance asks of a tokenizer."""

    def __init__(self, cli):
        cli.send("tokens")
        n, end = map(int, cli.line().split())
        self.tokens = [bytes.fromhex(cli.line()) for _ in range(n)]
        # Control tokens and those that are not in our tree: never allowed by a schema.
        self.special_token_ids = [i for i, t in enumerate(self.tokens)
                                  if not t or t[0] == 0xFF and len(t) > 1]
        for i in self.special_token_ids:
            self.tokens[i] = b"<%d>" % i
        self.eos_token_id = end
        self.bos_token_id = None
        self.ids = {t: i for i, t in enumerate(self.tokens) if len(t) == 1}

    def __call__(self, text):
        return [self.ids[bytes([b])] for b in text]


class Peer:
    def __init__(self, cli):
        self.vocabulary = Tokens(cli)
        wrapper = llguidance.TokenizerWrapper(self.vocabulary)
        self.tokenizer = llguidance.LLTokenizer(wrapper, n_vocab=len(self.vocabulary.tokens))
        self.buffer = ctypes.create_string_buffer((len(self.vocabulary.tokens) + 31) // 32 * 4)
        self.accepted = 0
        self.ours, self.theirs = [], []  # nanoseconds, of the same masks

    def matcher(self, schema):
        """A matcher, or None for a schema that it refuses."""
        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(schema)
        except ValueError:
            return None
        matcher = llguidance.LLMatcher(self.tokenizer, grammar, log_level=0)
        return None if matcher.is_error() else matcher

    def follow(self, matcher, masks):
        """masks: [(token, our nanoseconds)] of one text."""
        matcher.reset()
        address, size = ctypes.addressof(self.buffer), len(self.buffer)
        for token, ours in masks:
            if matcher.is_stopped():
                return
            start = time.thread_time_ns()
            matcher.unsafe_compute_mask_ptr(address, size)
            took = time.thread_time_ns() - start
            if not self.buffer.raw[token >> 3] >> (token & 7) & 1:
                return
            self.ours.append(ours)
            self.theirs.append(took)
            matcher.consume_token(token)
