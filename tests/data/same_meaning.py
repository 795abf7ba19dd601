# Checks that PyYAML reads YAML as an expected value, with its own parser and with libyaml's.
# Each line of stdin is a case in JSON: {"yaml": text, "expected": value}, or {"yaml": text,
# "expected_json": text}, or {"yaml": text, "expected_yaml": text}. In the last two, the value
# is that of the second text. Prints "same" or the difference, one line for each case.
import json
import sys

import yaml


def without_lone_surrogates(value):
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in value)
    if isinstance(value, list):
        return [without_lone_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {without_lone_surrogates(k): without_lone_surrogates(v) for k, v in value.items()}
    return value


def expected(case):
    if "expected_yaml" in case:
        return yaml.safe_load(case["expected_yaml"])
    if "expected_json" in case:
        return json.loads(case["expected_json"])
    return case["expected"]


def read(text, loader):
    try:
        return yaml.load(text, loader)
    except Exception as error:
        return error


for line in sys.stdin:
    case = json.loads(line)
    wanted = without_lone_surrogates(expected(case))
    values = {loader.__name__: read(case["yaml"], loader) for loader in (yaml.SafeLoader, yaml.CSafeLoader)}
    # `repr` distinguishes 1, 1.0 and True, which are equal.
    wrong = {name: value for name, value in values.items() if repr(value) != repr(wanted)}
    print("YAML %r was read as %r" % (case["yaml"], wrong) if wrong else "same", flush=True)
