#!/usr/bin/env python3
"""Makes the golden data that worker/model is compared with: logits and greedy tokens of Hugging Face transformers.

usage: make_models.py     (needs torch, transformers and tokenizers; running the tests needs none of them)

Per model a folder below tests/golden/models:
  config.json, model.safetensors   a tiny checkpoint with random weights (not for longbook-17m, which ships in demo/)
  expected.json                    {"prompt": ids, "positions": [...], "vocab_size": V, "greedy": ids}
  logits.f32                       little-endian fp32 [positions, V]: logits after the prompt's token at each position
All arithmetic is fp32 on weights as stored (bf16).
"""
import json
from pathlib import Path

import numpy
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Phi3Config, Qwen2Config, Qwen3Config

HERE = Path(__file__).parent
DEMO = HERE.parents[1] / "demo" / "longbook-17m"

TINY = dict(vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, rms_norm_eps=1e-5,
            bos_token_id=1, eos_token_id=2)
SMALL = dict(TINY, num_attention_heads=2, num_key_value_heads=1, head_dim=64, max_position_embeddings=512,
             tie_word_embeddings=True)
RANKS = dict(TINY, vocab_size=64, intermediate_size=64, tie_word_embeddings=False)
CONFIGS = {
    # Llama-2: as many KV heads as query heads, untied output, theta 10,000.
    "tiny-llama-2": LlamaConfig(**TINY, num_attention_heads=2, num_key_value_heads=2, head_dim=64,
                                max_position_embeddings=512, tie_word_embeddings=False),
    # Llama-3: grouped heads, theta 500,000, frequency-scaled rotary embedding.
    "tiny-llama-3": LlamaConfig(**TINY, num_attention_heads=4, num_key_value_heads=1, head_dim=64,
                                max_position_embeddings=2048, tie_word_embeddings=True, rope_theta=500000.0,
                                rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                              "high_freq_factor": 4.0, "original_max_position_embeddings": 64}),
    # What the other families add, and biases.
    "tiny-llama-bias": LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True),
    "tiny-mistral": MistralConfig(**SMALL, sliding_window=None),
    "tiny-qwen2": Qwen2Config(**SMALL),
    "tiny-qwen3": Qwen3Config(**SMALL),
    "tiny-phi3": Phi3Config(**{key: value for key, value in SMALL.items() if key != "head_dim"}
                            | {"hidden_size": 64, "num_attention_heads": 1, "pad_token_id": 0},
                            original_max_position_embeddings=256,
                            rope_scaling={"type": "longrope", "short_factor": [1 + i / 32 for i in range(32)],
                                          "long_factor": [2 + i / 16 for i in range(32)]}),
    # The prompt is longer than what the short factors are for.
    "tiny-phi3-long": Phi3Config(**{key: value for key, value in SMALL.items() if key != "head_dim"}
                                 | {"hidden_size": 96, "num_attention_heads": 1, "pad_token_id": 0},
                                 original_max_position_embeddings=64,
                                 rope_scaling={"type": "longrope",
                                               "short_factor": [1 + i / 48 for i in range(48)],
                                               "long_factor": [2 + i / 24 for i in range(48)]}),
    # What ranks share out: query and KV heads, biases that one of them alone adds, rows of the output.
    "tiny-llama-ranks": LlamaConfig(**RANKS, num_attention_heads=8, num_key_value_heads=4, head_dim=64,
                                    max_position_embeddings=512, attention_bias=True, mlp_bias=True),
    # The same of fused projections, and longrope at the size of Phi-3.5: 4,096 positions made 131,072.
    "tiny-phi3-ranks": Phi3Config(**RANKS | {"hidden_size": 192}, num_attention_heads=2, num_key_value_heads=2,
                                  max_position_embeddings=131072, pad_token_id=0,
                                  original_max_position_embeddings=4096,
                                  rope_scaling={"type": "longrope",
                                                "short_factor": [round(1 + i / 26, 2) for i in range(48)],
                                                "long_factor": [round(1.08 * 60 ** (i / 47), 2)
                                                                for i in range(48)]}),
    # As Qwen's instructions for long prompts have it; the prompt is longer than what was trained.
    "tiny-qwen3-yarn": Qwen3Config(**SMALL, rope_scaling={"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0,
                                                          "original_max_position_embeddings": 64}),
}
AS_PUBLISHED = {"tiny-llama-3", "tiny-phi3-ranks"}
PROMPT_LENGTHS = {"tiny-phi3-ranks": 4250}  # beyond what its short factors are for; the others: 150
# Standard deviation of weights; the others: 0.2. The wider the model, the sharper its attention, and the more the error of
# 3e-7 counts that transformers makes in a frequency: at the end of a long prompt 1e-3 in an angle.
SPREADS = {"tiny-phi3-ranks": 0.08}


def record(folder, model, prompt, positions, new_tokens):
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0]
        ids = list(prompt)
        for _ in range(new_tokens):  # plain argmax: no generation config, no stop
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    chosen = logits[positions].to(torch.float32).numpy().astype("<f4")
    chosen.tofile(folder / "logits.f32")
    (folder / "expected.json").write_text(json.dumps({
        "prompt": prompt, "positions": positions, "vocab_size": chosen.shape[1], "greedy": ids[len(prompt):]}) + "\n")


def as_published(path):
    """Writes the rotary settings the way checkpoints on the hub have them: rope_theta and rope_scaling apart."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2) + "\n")


def main():
    torch.manual_seed(7)
    for name, config in CONFIGS.items():
        folder = HERE / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for parameter in model.parameters():  # norms too: all-ones weights would hide a missing product
                normal = torch.randn_like(parameter) * SPREADS.get(name, 0.2)
                parameter.copy_((normal + (1.0 if parameter.dim() == 1 else 0.0)).to(torch.bfloat16).to(torch.float32))
        model.to(torch.bfloat16).save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        if name in AS_PUBLISHED:
            as_published(folder / "config.json")
        # Loaded again: a model that was bf16 once keeps rounded rotary frequencies.
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        length = PROMPT_LENGTHS.get(name, 150)
        prompt = torch.randint(3, config.vocab_size, (length,)).tolist()
        record(folder, model, prompt, list(range(0, length, length // 25)) + [length - 1], 24)
    folder = HERE / "models" / "longbook-17m"
    folder.mkdir(parents=True, exist_ok=True)
    line = next(json.loads(line) for line in open(DEMO.parent / "passages.jsonl", encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    prompt = tokenizer.encode(f"<|im_start|>user\n{line['prompt']}<|im_end|>\n<|im_start|>assistant\n",
                              add_special_tokens=False).ids
    model = AutoModelForCausalLM.from_pretrained(DEMO, dtype=torch.float32).eval()
    record(folder, model, prompt, [0, 255, 256, 777, len(prompt) - 1], 20)


if __name__ == "__main__":
    main()
