"""What tests/support/chain_replica.h draws: the next token follows from all tokens before it."""
import random

VOCABULARY = 1024


def tokens_after(prompt, count):
    hashed = 0xCBF29CE484222325

    def add(token):
        return ((hashed ^ token) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    for token in prompt:
        hashed = add(token)
    drawn = []
    for _ in range(count):
        drawn.append(sum(hashed >> shift & 0xFF for shift in (32, 40, 48, 56)))
        hashed = add(drawn[-1])
    return drawn


def random_prompt(chance: random.Random, longest=200):
    return [chance.randrange(VOCABULARY) for _ in range(chance.randint(1, longest))]
