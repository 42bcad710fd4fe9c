"""Sampling and stopping by every field of the table, with the real model: what each promises, judged
from the answer's tokens."""

import pytest

ASK = [{"role": "user", "content": "Count: one two three four five. Go on counting."}]


def ids(answer):
    return answer["choices"][0]["token_ids"]


def text(answer):
    return answer["choices"][0]["message"]["content"]


@pytest.fixture(scope="module")
def say(real):
    def post(**fields):
        status, _, answer = real.post("/v1/chat/completions", {
            "messages": ASK, "max_tokens": 24, "temperature": 0, "return_token_ids": True, **fields})
        assert status == 200, answer
        return answer
    return post


def pieces(real, tokens):
    return [real.post("/detokenize", {"tokens": [t]})[2]["content"] for t in tokens]


def test_stop_token_ids(say):
    plain = say(ignore_eos=True)
    stop = ids(plain)[5]
    first = ids(plain).index(stop)
    answer = say(ignore_eos=True, stop_token_ids=[stop])
    assert ids(answer) == ids(plain)[:first]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["stop_reason"] == stop
    assert answer["usage"]["completion_tokens"] == first + 1
    shown = say(ignore_eos=True, stop_token_ids=[stop], include_stop_str_in_output=True)
    assert ids(shown) == ids(plain)[:first + 1]
    assert text(shown).startswith(text(answer)) and len(text(shown)) > len(text(answer))


def test_include_stop_string(say):
    plain = text(say(ignore_eos=True))
    stop = plain[8:11]
    cut = plain.index(stop)
    assert text(say(ignore_eos=True, stop=stop)) == plain[:cut]
    assert text(say(ignore_eos=True, stop=stop, include_stop_str_in_output=True)) == plain[:cut + 3]


def test_min_tokens(say):
    short = say(messages=[{"role": "user", "content": "Say: ok"}], max_tokens=64)
    n = short["usage"]["completion_tokens"]
    assert short["choices"][0]["finish_reason"] == "stop" and n < 60
    longer = say(messages=[{"role": "user", "content": "Say: ok"}], max_tokens=64, min_tokens=n + 3)
    assert longer["usage"]["completion_tokens"] > n + 3
    stop = text(short)[:2]
    assert text(say(stop=stop, min_tokens=3)) != ""


def test_allowed_and_bad(say, real):
    plain = say()
    allowed = ids(plain)[3:6]
    assert set(ids(say(allowed_token_ids=allowed))) <= set(allowed)
    word = text(plain).split()[1].strip(".,:")
    assert word in text(plain)
    banned = say(bad_words=[word])
    assert word not in text(banned).split()
    assert ids(say(allowed_token_ids=allowed, seed=1, temperature=1, n=2)) != []


def test_logit_bias_forms(say):
    plain = say()
    first = ids(plain)[0]
    assert ids(say(logit_bias={str(first): -100}))[0] != first
    assert ids(say(logit_bias=[[first, False]])) == ids(say(logit_bias={str(first): -100}))
    assert ids(say(logit_bias=[[text(plain).split()[0], -100]])) != ids(plain)


def test_repetition(say):
    loop = {"messages": [{"role": "user", "content": "Repeat the word sea forever."}],
            "max_tokens": 80, "ignore_eos": True, "logit_bias": {}}
    few = {**loop, "allowed_token_ids": sorted(set(ids(say(**loop))))[:4]}
    bare = ids(say(**few))
    dry = ids(say(**few, dry_multiplier=2, dry_sequence_breakers=[]))
    plain = ids(say(**loop))

    def repeats(tokens):
        return sum(tokens[i:i + 4] in [tokens[k:k + 4] for k in range(i)] for i in range(len(tokens)))
    assert repeats(dry) < repeats(bare)
    same = say(**loop, repeat_penalty=1.3)
    assert ids(same) == ids(say(**loop, repetition_penalty=1.3)) != plain
    assert ids(say(**loop, repetition_penalty=1.3, repeat_last_n=0)) == plain
    assert ids(say(**loop, repetition_penalty=1.3, repeat_last_n=-1)) == ids(same)
    assert ids(say(**loop, repetition_penalty=1.3, repeat_last_n=4)) != ids(same)


@pytest.mark.parametrize("fields", [{"typical_p": 0.2}, {"top_n_sigma": 0.2},
                                    {"xtc_probability": 1, "xtc_threshold": 0.02}])
def test_filters_change_the_draw_and_repeat(say, fields):
    sampled = {"temperature": 1.5, "seed": 9, "min_p": 0, "max_tokens": 40}
    assert ids(say(**sampled, **fields)) != ids(say(**sampled))
    assert ids(say(**sampled, **fields)) == ids(say(**sampled, **fields))


def test_cache_salt_separates(real):
    body = {"messages": [{"role": "user", "content": "salt " * 200}], "max_tokens": 1}

    def cached(**fields):
        usage = real.post("/v1/chat/completions", {**body, **fields})[2]["usage"]
        assert usage["prompt_cache_hit_tokens"] == usage["prompt_tokens_details"]["cached_tokens"]
        assert usage["prompt_cache_hit_tokens"] + usage["prompt_cache_miss_tokens"] == \
            usage["prompt_tokens"]
        return usage["prompt_cache_hit_tokens"]
    assert cached() == 0 and cached() > 100
    assert cached(cache_salt="a") == 0 and cached(cache_salt="a") > 100
    assert cached(cache_salt="b") == 0 and cached(cache_salt="") > 100


def test_unknown_tokens_are_refused(real):
    for name in ("stop_token_ids", "allowed_token_ids"):
        status, _, answer = real.post("/v1/chat/completions",
                                      {"messages": ASK, "max_tokens": 1, name: [10**6]})
        assert status == 400 and answer["error"]["param"] == name
