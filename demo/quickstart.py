"""Asks a running server about one long passage, then compares the three compression modes. Called by
scripts/quickstart; usage: quickstart.py http://127.0.0.1:8000"""
import json
import sys
import time
from pathlib import Path

from openai import OpenAI, OpenAIError

MODES = {
    "off": "keeps every key and value",
    "decode": "evicts after the prompt",
    "full": "evicts after every prefill block",
}


def passage():
    lines = [json.loads(line) for line in open(Path(__file__).parent / "passages.jsonl", encoding="utf-8")]
    return min(lines, key=lambda line: abs(line["tokens"] - 3000))


def ask(client, model, prompt, mode, echo=False):
    """One streamed chat completion: (answer, the `batchmax` figures of the answer, seconds)."""
    start = time.monotonic()
    answer, figures = "", {}
    stream = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": prompt}], temperature=0, max_tokens=48, stream=True,
        stream_options={"include_usage": True}, extra_body={"compression": mode})
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            answer += chunk.choices[0].delta.content
            if echo:
                print(chunk.choices[0].delta.content, end="", flush=True)
        figures = (chunk.model_extra or {}).get("batchmax") or figures
    return answer.strip(), figures, time.monotonic() - start


def metric(text, name):
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + "{"))


def main():
    url = sys.argv[1]
    client = OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)
    model = client.models.list().data[0].id
    item = passage()
    book = item["book"].replace("_", ": ").replace("-", " ").title()
    print(f"{item['tokens']} tokens of {book} with facts planted in them. Question: {item['question']}")
    print("Answer, streamed: ", end="", flush=True)
    ask(client, model, item["prompt"], "full", echo=True)
    print(f"\nExpected:         {item['answer']}\n")

    import urllib.request
    metrics = urllib.request.urlopen(url + "/metrics").read().decode()
    capacity = metric(metrics, "batchmax_kv_bytes_capacity")
    print(f"{'mode':8}{'KV held':>10}{'KV peak':>10}{'sequences that fit':>20}{'seconds':>9}   answer")
    for mode in MODES:
        answer, figures, seconds = ask(client, model, item["prompt"], mode)
        held, peak = figures["kv_bytes_held"], figures["kv_bytes_peak"]
        fit = int(capacity // figures["kv_bytes_reserved"])
        right = "right" if answer == item["answer"] else "wrong"
        print(f"{mode:8}{held / 2**20:6.1f} MiB{peak / 2**20:6.1f} MiB{fit:20,}{seconds:9.2f}   {answer} ({right})")
    print("\n" + "; ".join(f"{mode}: {meaning}" for mode, meaning in MODES.items()) + ".")
    print(f"Sequences like this one that fit at once into the {capacity / 2**20:,.0f} MiB of KV memory, all ranks together.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except OpenAIError as error:
        sys.exit(f"quickstart.py: {error}")
