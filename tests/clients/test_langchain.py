"""LangChain's ChatOpenAI, unmodified, against the real programs."""
import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

MESSAGES = [SystemMessage("You are a sailor."), HumanMessage("Tell me about the sea.")]


@pytest.fixture(scope="module")
def chat(server):
    return ChatOpenAI(base_url=server.url + "/v1", api_key="none", model="longbook-17m", temperature=0, max_tokens=16, max_retries=0,
                      timeout=300, extra_body={"ignore_eos": True})


def test_answers_and_counts(chat):
    answer = chat.invoke(MESSAGES)
    assert isinstance(answer, AIMessage) and answer.content
    assert answer.usage_metadata["output_tokens"] == 16
    assert answer.response_metadata["finish_reason"] == "length"


def test_streams_what_it_answers(chat):
    chunks = list(chat.stream(MESSAGES))
    assert "".join(chunk.content for chunk in chunks) == chat.invoke(MESSAGES).content
    assert len(chunks) > 8


def test_batches(chat):
    answers = chat.batch([MESSAGES, [HumanMessage("And of the moon?")]])
    assert answers[0].content == chat.invoke(MESSAGES).content
    assert answers[1].content and answers[1].content != answers[0].content


def test_logprobs(chat):
    told = chat.bind(logprobs=True, top_logprobs=3).invoke(MESSAGES).response_metadata["logprobs"]["content"]
    assert len(told) == 16
    assert all(entry["logprob"] == entry["top_logprobs"][0]["logprob"] for entry in told)


def test_a_prompt_that_is_too_long_is_known_as_such(chat):
    with pytest.raises(openai.BadRequestError, match="maximum context length is 4096"):
        chat.invoke([HumanMessage("sea " * 5000)])
