#!/usr/bin/env python3
"""Renders templates with Python's jinja2, set up as transformers does, and writes what came out (or that it failed)
to template_cases.json, which chat_template_test.cc compares with. Needs jinja2; running the tests does not.

    tests/coordinator/text/make_template_cases.py
"""
import datetime
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.sandbox

import template_constructs

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2026, 7, 4, 9, 5, 3)


class Generation(jinja2.ext.Extension):
    """{% generation %}: transformers marks what the assistant said; here the text is all that matters."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_text"), [], [], body).set_lineno(line)

    def _text(self, caller):
        return caller()


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def case(env, name, template, variables):
    row = {"name": name, "template": template, "variables": variables}
    try:
        text = env.from_string(template).render(bos_token="<s>", eos_token="</s>", **variables)
        return row | {"text": text}
    except Exception as error:  # whatever jinja2 or Python objects to
        return row | {"error": f"{type(error).__name__}: {error}"}


def main():
    env = environment()
    rows = []
    for path in sorted((HERE / "templates").glob("*.jinja")):
        for number, variables in enumerate(template_constructs.CONVERSATIONS):
            row = case(env, f"{path.stem}_{number}", path.read_text(encoding="utf-8"), variables)
            rows.append(row | {"template": path.name})  # the file stands beside this one
    for number, template in enumerate(template_constructs.CONSTRUCTS):
        rows.append(case(env, f"construct_{number}", template, template_constructs.VARIABLES))
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (HERE / "template_cases.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(rows)} cases, {sum('error' in row for row in rows)} of them errors")


if __name__ == "__main__":
    main()
