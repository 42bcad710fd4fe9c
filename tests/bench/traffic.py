"""Real traffic: Poisson arrivals from seeded traces, and how many users a server holds.

A trace is a pure function of (kind, rate, seed). A server holds a rate when the first token comes
within 2 s for 99 of 100 requests and 99 of 100 gaps between tokens are 100 ms or less (the limits of
MLPerf's server scenario for a model of 8B). The rate is doubled from --traffic-rate until it fails,
then the interval is halved twice. What was served at the greatest rate held is the goodput, and, with the
machine's price an hour, gives the price of a million tokens: of input that was computed, of input
from the prefix cache, of output.

A mixed load has one price only; it is split by what each kind costs the machine. A token of input
counts as 1, one of output as OUTPUT_WEIGHT, a cached one as nothing but its share of the others'
attention, CACHED_WEIGHT: the ratios that hosted services ask.
"""
import sys

from servers import Stream, percentile, run_streams, seeded, unique_prompt

FIRST_TOKEN_S, GAP_S = 2.0, 0.1
REQUESTS_MIN = 8
RATE_MAX = 64.0
OUTPUT_WEIGHT, CACHED_WEIGHT = 4.0, 0.1


def chat(rng, _):
    """256 words in, 256 tokens out, spread by a factor of two either way."""
    return unique_prompt(rng, int(256 * 2 ** rng.uniform(-1, 1))), int(256 * 2 ** rng.uniform(-1, 1))


def rag(rng, _):
    return unique_prompt(rng, 4000), 128


def agent(rng, state):
    """20 agents take turns over one shared prefix; each turn adds to the agent's own text."""
    state.setdefault("prefix", unique_prompt(seeded("agent prefix"), 4000))
    who = rng.randrange(20)
    text = state.setdefault(who, f" agent {who}:") + " " + unique_prompt(rng, 60)
    state[who] = text
    return state["prefix"] + text, 64


KINDS = {"chat": chat, "rag": rag, "agent": agent}


def trace(kind, rate, seconds, seed):
    rng, state, at, requests = seeded(kind, seed), {}, 0.0, []
    while True:
        at += rng.expovariate(1) / rate
        if at > seconds and len(requests) >= REQUESTS_MIN:
            return requests
        requests.append((at, *KINDS[kind](rng, state)))


def run_trace(server, kind, rate, seconds, seed):
    requests = trace(kind, rate, seconds, seed)
    usage = {"stream_options": {"include_usage": True}}
    streams = [Stream(server, prompt, n, cache=kind == "agent", **usage) for _, prompt, n in requests]

    def hopeless():  # so far behind that waiting for the end would only cost time
        return any(s.times and s.first_s > 8 * FIRST_TOKEN_S for s in streams)

    run_streams([(r[0], s) for r, s in zip(requests, streams)], hopeless)
    if not all(s.done for s in streams):
        for s in streams:
            if hasattr(s, "socket"):
                s.socket.close()
        return None
    start = min(s.sent for s in streams)
    end = max(s.times[-1] for s in streams)
    gaps = [g for s in streams for g in s.gaps()]
    n_prompt = sum(s.usage["prompt_tokens"] for s in streams)
    n_cached = sum((s.usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
                   for s in streams)
    return {"first_p99": percentile([s.first_s for s in streams], 99),
            "gap_p99": percentile(gaps, 99) if gaps else 0.0,
            "out_tokens_s": sum(len(s.times) for s in streams) / (end - start),
            "in_tokens_s": (n_prompt - n_cached) / (end - start),
            "cached_tokens_s": n_cached / (end - start)}


def holds(result):
    return result is not None and result["first_p99"] <= FIRST_TOKEN_S and result["gap_p99"] <= GAP_S


def tell(server, kind, rate, args):
    """Runs a trace; each one's outcome is printed, since a search takes minutes."""
    result = run_trace(server, kind, rate, args.traffic_seconds, args.seed)
    said = "given up" if result is None else " ".join(f"{k} {v:.3g}" for k, v in result.items())
    print(f"  {server.name} {kind} {rate:g}/s: {said}", file=sys.stderr, flush=True)
    return result


def goodput(server, args):
    values = {}
    for kind in args.traffic_kinds.split(","):
        low, high, best = 0.0, args.traffic_rate, None
        while high <= RATE_MAX:
            result = tell(server, kind, high, args)
            if not holds(result):
                break
            low, best, high = high, result, 2 * high
        for turn in range(2):
            middle = (low + high) / 2
            result = tell(server, kind, middle, args)
            if holds(result):
                low, best = middle, result
            else:
                high = middle
        values[f"traffic {kind}: requests/s held"] = low
        if best:
            values[f"traffic {kind}: tokens/s out then"] = best["out_tokens_s"]
            values[f"traffic {kind}: first token p99 then (ms)"] = 1e3 * best["first_p99"]
            values[f"traffic {kind}: gap p99 then (ms)"] = 1e3 * best["gap_p99"]
            if args.price:
                values.update(cost(kind, best, args.price))
    return values


def cost(kind, best, price):
    """Prices of a million tokens of each kind, which together pay for the machine."""
    weights = {"input": 1.0, "cached input": CACHED_WEIGHT, "output": OUTPUT_WEIGHT}
    rates = {"input": best["in_tokens_s"], "cached input": best["cached_tokens_s"],
             "output": best["out_tokens_s"]}
    unit = price / 3600 / sum(weights[name] * rates[name] for name in rates)
    return {f"traffic {kind}: price of a million tokens, {name}": unit * weights[name] * 1e6
            for name in rates}
